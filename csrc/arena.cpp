#include "arena.h"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>

namespace elman {
namespace {

struct Pool {
  std::mutex lock;
  std::vector<Memory> pieces;  // given back last lies last
  size_t bytes = 0;
};

constexpr size_t kMost = size_t{256} << 20, kHuge = size_t{2} << 20;

// Never destroyed: a run may give memory back while the process ends.
Pool& pool() {
  static Pool* all = new Pool;
  return *all;
}

// Few sizes, so that pieces fit again: eighths between powers of two. From a quarter of a huge page on a whole one: weights that a core
// can keep in its cache are read at full speed from one page, and a fifth slower from hundreds of small ones.
size_t round_up(size_t bytes) {
  if (bytes >= kHuge / 4 && bytes < kHuge) return kHuge;
  size_t unit = 4096;
  while (unit * 16 < bytes) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Memory take_memory(size_t bytes) {
  bytes = round_up(std::max<size_t>(bytes, 1));
  {
    Pool& all = pool();
    const std::lock_guard<std::mutex> guard(all.lock);
    for (size_t i = all.pieces.size(); i-- > 0;)
      if (all.pieces[i].bytes == bytes) {
        const Memory found = all.pieces[i];
        all.pieces.erase(all.pieces.begin() + static_cast<ptrdiff_t>(i));
        all.bytes -= bytes;
        return found;
      }
  }
  const bool huge = bytes >= kHuge;
  void* data = nullptr;
  if (posix_memalign(&data, huge ? kHuge : 4096, bytes)) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (huge) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return {data, bytes};
}

void give_memory(Memory memory) {
  Pool& all = pool();
  const std::lock_guard<std::mutex> guard(all.lock);
  all.pieces.push_back(memory);
  all.bytes += memory.bytes;
  while (all.bytes > kMost) {
    all.bytes -= all.pieces.front().bytes;
    std::free(all.pieces.front().data);
    all.pieces.erase(all.pieces.begin());
  }
}

}  // namespace elman
