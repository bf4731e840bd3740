// Threads for one parallel region at a time, barriers inside it, and denormal numbers switched off in it.
#pragma once

#include <atomic>
#include <cstdint>

namespace elman {

// Runs body(context, index, size) on up to `threads` threads (at most kMostThreads) at once and waits for all; `size` is how many really run.
// Uses the OpenMP pool that is already in the process (GOMP_parallel, found by name), else threads of its own.
void parallel(int threads, void (*body)(void* context, int index, int size), void* context);

// After a fork the pool's threads are gone: the child runs on one.
void forget_pool_after_fork();

constexpr int kMostThreads = 64;

class Barrier {
 public:
  // Waits until all `size` threads have come; `index` is the caller's number. Spins a while, then yields.
  void wait(int index, int size);

 private:
  // How often each thread came, each on a line of its own: one write and one read of another core's line a barrier.
  struct alignas(64) Count {
    std::atomic<int64_t> n{0};
  };
  Count counts_[kMostThreads];
};

// Denormal numbers read and written as zero for as long as this lives: they are up to 100 times slower.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  uint64_t before_;
};

}  // namespace elman
