#include "threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace elman {
namespace {

struct Region {
  void (*body)(void*, int, int);
  void* context;
};

// libgomp's entry points, in what torch has loaded; all null where torch uses another runtime.
struct Pool {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
  int (*index)();
  int (*size)();
  bool found() const { return parallel && index && size; }
};

const Pool& pool() {
  static const Pool found{reinterpret_cast<decltype(Pool::parallel)>(dlsym(RTLD_DEFAULT, "GOMP_parallel")),
                          reinterpret_cast<decltype(Pool::index)>(dlsym(RTLD_DEFAULT, "omp_get_thread_num")),
                          reinterpret_cast<decltype(Pool::size)>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"))};
  return found;
}

std::atomic<bool> forked{false};

void pool_region(void* data) {
  const auto* region = static_cast<const Region*>(data);
  region->body(region->context, pool().index(), pool().size());
}

}  // namespace

void parallel(int threads, void (*body)(void*, int, int), void* context) {
  threads = std::min(threads, kMostThreads);
  if (threads <= 1 || forked.load(std::memory_order_relaxed)) {
    body(context, 0, 1);
  } else if (pool().found()) {
    Region region{body, context};
    pool().parallel(pool_region, &region, static_cast<unsigned>(threads), 0);
  } else {
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(body, context, i, threads);
    body(context, 0, threads);
    for (std::thread& t : others) t.join();
  }
}

void forget_pool_after_fork() {
  pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
}

void Barrier::wait(int index, int size) {
  if (size == 1) return;
  const int64_t round = counts_[index].n.load(std::memory_order_relaxed) + 1;
  counts_[index].n.store(round, std::memory_order_release);
  // No pause instruction: in a virtual machine it can end in the hypervisor.
  constexpr int patience = 20000;
  for (int other = 0; other < size; ++other)
    for (int i = 0; counts_[other].n.load(std::memory_order_acquire) < round; ++i)
      if (i > patience) sched_yield();
}

#if defined(__x86_64__) || defined(_M_X64)
FlushDenormals::FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(static_cast<unsigned>(before_) | 0x8040u); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(static_cast<unsigned>(before_)); }
#elif defined(__aarch64__)
FlushDenormals::FlushDenormals() {
  __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
  __asm__ volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t{1} << 24)));
}
FlushDenormals::~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }
#else
FlushDenormals::FlushDenormals() : before_(0) {}
FlushDenormals::~FlushDenormals() = default;
#endif

}  // namespace elman
