// The choice among the instruction sets that kernels.cpp was compiled for.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>

#include "kernels.h"
#include "sequence.h"
#include "threads.h"

namespace elman {
namespace {

struct Set {
  std::string name;
  const Kernels<float>* single;
  const Kernels<double>* wide;
};

// What was compiled and this processor has, best first.
const std::vector<Set>& sets() {
  static const std::vector<Set> all = [] {
    std::vector<Set> found;
#define ELMAN_ADD(NAME) found.push_back({#NAME, &NAME::kernels<float>(), &NAME::kernels<double>()})
#if defined(ELMAN_HAVE_AVX512)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
      ELMAN_ADD(avx512);
#endif
#if defined(ELMAN_HAVE_AVX2)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) ELMAN_ADD(avx2);
#endif
#if defined(ELMAN_HAVE_NEON)
    ELMAN_ADD(neon);
#endif
    ELMAN_ADD(generic);
#undef ELMAN_ADD
    return found;
  }();
  return all;
}

const Set*& chosen() {
  static const Set* set = &sets().front();
  return set;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() { return *chosen()->single; }
template <>
const Kernels<double>& kernels<double>() { return *chosen()->wide; }

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Set& s : sets()) names.push_back(s.name);
  return names;
}

std::string instructions() { return chosen()->name; }

void set_instructions(const std::string& name) {
  const auto found = std::find_if(sets().begin(), sets().end(), [&](const Set& s) { return s.name == name; });
  if (found == sets().end()) throw std::invalid_argument("this processor or build has no instruction set '" + name + "'");
  chosen() = &*found;
}

double peak(int threads, double seconds) {
  struct Shared {
    double seconds;
    std::vector<double> flops;
  } shared{seconds, std::vector<double>(threads)};
  using Clock = std::chrono::steady_clock;
  static const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const auto start = Clock::now();
  parallel(threads, [](void* data, int index, int) {
    auto* s = static_cast<Shared*>(data);
    for (const auto from = Clock::now(); since(from) < s->seconds;) s->flops[index] += kernels<float>().exercise(1000);
  }, &shared);
  return std::accumulate(shared.flops.begin(), shared.flops.end(), 0.0) / since(start);
}

}  // namespace elman
