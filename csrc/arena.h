#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace elman {

// Memory that runs give back and take again, on huge pages where it is large: fresh pages cost more than small runs do.
struct Memory {
  void* data;
  size_t bytes;  // at least those asked for
};
Memory take_memory(size_t bytes);  // throws std::bad_alloc
void give_memory(Memory memory);

inline bool poison = false;  // tests: memory starts as NaN

// Scratch memory of one call, 64-byte aligned. Small pieces share one block.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    for (const Memory& b : blocks_) give_memory(b);
  }

  template <class T>
  T* take(int64_t numbers) {
    const size_t bytes = (static_cast<size_t>(std::max<int64_t>(numbers, 1)) * sizeof(T) + 63) / 64 * 64;
    T* data = static_cast<T*>(bytes > kSmall ? block(bytes) : small(bytes));
    if (poison) std::fill(data, data + numbers, std::numeric_limits<T>::quiet_NaN());
    return data;
  }

 private:
  static constexpr size_t kSmall = size_t{32} << 10, kShared = size_t{128} << 10;

  void* block(size_t bytes) {
    blocks_.push_back(take_memory(bytes));
    return blocks_.back().data;
  }
  void* small(size_t bytes) {
    if (left_ < bytes) {
      next_ = static_cast<char*>(block(kShared));
      left_ = kShared;
    }
    void* data = next_;
    next_ += bytes;
    left_ -= bytes;
    return data;
  }

  std::vector<Memory> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace elman
