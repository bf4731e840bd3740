// Tests simd.h and functions.h for the instruction set it is compiled for; no framework, exit status 1 on a failure.
//
//   functions_test           largest errors against the C library in a wider format, special values, vector operations
//   functions_test --all     float: every one of the 2^32 arguments (minutes)
//   functions_test --bench   time a vector
#include "functions.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

using namespace elman::ELMAN_ISA;

namespace {

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

int failures = 0;

void expect(bool ok, const char* what, const char* type, double at) {
  if (ok) return;
  if (++failures <= 40) std::printf("FAILED %s<%s> at %.17g\n", what, type, at);
}

template <class T>
constexpr const char* type_name() {
  return sizeof(T) == 4 ? "float" : "double";
}

// Denormal numbers, in and out, are zeros within a scope.
class Flush {
 public:
  explicit Flush(bool on) : before_(get()) {
    if (on) set(before_ | kBits);
  }
  ~Flush() { set(before_); }

 private:
#if defined(__SSE2__)
  static constexpr std::uint64_t kBits = 0x8040;
  static std::uint64_t get() { return _mm_getcsr(); }
  static void set(std::uint64_t x) { _mm_setcsr(static_cast<unsigned>(x)); }
#elif defined(__aarch64__)
  static constexpr std::uint64_t kBits = 1 << 24;
  static std::uint64_t get() {
    std::uint64_t x;
    asm volatile("mrs %0, fpcr" : "=r"(x));
    return x;
  }
  static void set(std::uint64_t x) { asm volatile("msr fpcr, %0" ::"r"(x)); }
#else
  static constexpr std::uint64_t kBits = 0;
  static std::uint64_t get() { return 0; }
  static void set(std::uint64_t) {}
#endif
  std::uint64_t before_;
};

// ---- the functions and what they should be; Wide is double for float, long double for double

// SINGLE, DOUBLE: the largest error, in units of the last place.
#define FUNCTION(NAME, SINGLE, DOUBLE, REFERENCE)                     \
  struct NAME##_ {                                                    \
    static constexpr const char* name = #NAME;                        \
    template <class T>                                                \
    static constexpr double bound = sizeof(T) == 4 ? SINGLE : DOUBLE; \
    template <class V>                                                \
    ELMAN_INLINE static V call(V x) {                                 \
      return NAME(x);                                                 \
    }                                                                 \
    template <class W>                                                \
    static W wide(W x) {                                              \
      return REFERENCE;                                               \
    }                                                                 \
  };
FUNCTION(exp, 2, 4, std::exp(x))
FUNCTION(log, 2, 4, std::log(x))
FUNCTION(sigmoid, 2, 4, x > 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)))
FUNCTION(tanh, 1.1, 2.1, std::tanh(x))
FUNCTION(softplus, 2, 4, x > 20 ? x : std::log1p(std::exp(x)))
FUNCTION(relu, 0, 0, x < 0 ? W(0) : x)
FUNCTION(rsqrt, 2, 4, 1 / std::sqrt(x))
#undef FUNCTION

template <class T>
struct WideOf {
  using type = double;
};
template <>
struct WideOf<double> {
  using type = long double;
};

template <class F, class T>
[[gnu::noinline]] void apply(const T* x, T* y, int n) {
  using V = Vec<T>;
  for (int i = 0; i < n; i += 4 * V::lanes) {
    V a[4];
    for (int j = 0; j < 4; ++j) a[j] = F::call(V::load(x + i + j * V::lanes));
    for (int j = 0; j < 4; ++j) a[j].store(y + i + j * V::lanes);
  }
}

template <class T>
T of_bits(std::uint64_t bits) {
  T x;
  if constexpr (sizeof(T) == 4) {
    const auto narrow = static_cast<std::uint32_t>(bits);
    std::memcpy(&x, &narrow, 4);
  } else {
    std::memcpy(&x, &bits, 8);
  }
  return x;
}

template <class T>
struct Worst {
  double ulp = 0;
  T at = 0;
};

// Compares n results.
template <class F, class T>
void compare(const T* x, const T* y, int n, bool flushed, Worst<T>& worst) {
  using W = typename WideOf<T>::type;
  using L = std::numeric_limits<T>;
  for (int i = 0; i < n; ++i) {
    if (flushed && x[i] != 0 && std::fabs(x[i]) < L::min()) continue;
    const W want = F::wide(W(x[i]));
    if (std::isnan(want)) {
      expect(std::isnan(y[i]), F::name, type_name<T>(), double(x[i]));
    } else if (std::fabs(want) > W(L::max())) {  // the nearest number may still be the largest one
      const bool close = std::isfinite(want) && std::fabs(want) < W(L::max()) * (1 + 2 * W(L::epsilon()));
      expect(y[i] == (want > 0 ? L::infinity() : -L::infinity()) || (close && std::fabs(y[i]) == L::max()), F::name,
             type_name<T>(), double(x[i]));
    } else if (std::fabs(want) < W(L::min()) * (1 + 4 * W(L::epsilon())) && y[i] == 0) {
      continue;  // a denormal result, flushed
    } else {
      int exponent;
      std::frexp(want, &exponent);
      const W unit = std::ldexp(W(1), std::max(exponent, L::min_exponent) - L::digits);
      const double error = double(std::fabs(W(y[i]) - want) / unit);
      if (!(error <= worst.ulp)) worst = {error, x[i]};
    }
  }
}

constexpr int kBatch = 4096;

// Where long double is wider than any hardware's, it is slow: fewer points.
template <class T>
constexpr int kBatches = sizeof(T) == 8 && std::numeric_limits<long double>::digits > 64 ? 16 : 1048576 / kBatch;

// Arguments number `batch` x kBatch and following of a sweep.
template <class T>
void arguments(int kind, int batch, T* x) {
  for (int i = 0; i < kBatch; ++i) {
    const std::uint64_t k = (std::uint64_t(batch) * kBatch + i) * (1048576 / kBatch / kBatches<T>);
    const T part = T((k + 0.5) / 1048576 * 2 - 1);                                          // in (-1, 1)
    if (kind == 0) x[i] = of_bits<T>(sizeof(T) == 4 ? k * 4099 : k * 0x9e3779b97f4a7c15u);  // all exponents
    if (kind == 1) x[i] = part * T(sizeof(T) == 4 ? 110 : 760);
    if (kind == 2) x[i] = part * T(2);
    if (kind == 3) x[i] = part * T(22);
  }
}

template <class F, class T>
void sweep(bool all) {
  alignas(64) static T x[kBatch], y[kBatch];
  Worst<T> worst;
  for (const bool flushed : {false, true}) {
    for (int kind = 0; kind < 4; ++kind) {
      for (int batch = 0; batch < kBatches<T>; ++batch) {
        arguments(kind, batch, x);
        {
          const Flush flush(flushed);
          apply<F>(x, y, kBatch);
        }
        compare<F>(x, y, kBatch, flushed, worst);
      }
    }
  }
  for (std::uint64_t first = 0; all && sizeof(T) == 4 && first < 1ull << 32; first += kBatch) {
    for (int i = 0; i < kBatch; ++i) x[i] = of_bits<T>(first + i);
    apply<F>(x, y, kBatch);
    compare<F>(x, y, kBatch, false, worst);
  }
  std::printf("%-8s %-6s %6.3f ulp at %.9g\n", F::name, type_name<T>(), worst.ulp, double(worst.at));
  expect(worst.ulp <= F::template bound<T>, F::name, type_name<T>(), double(worst.at));
}

// One value, in every lane; equal with its sign, or both NaN.
template <class F, class T>
void special(T x, T want) {
  for (const bool flushed : {false, true}) {
    Vec<T> y;
    {
      const Flush flush(flushed);
      y = F::call(Vec<T>(x));
    }
    for (int i = 0; i < Vec<T>::lanes; ++i) {
      const bool same = y[i] == want && std::signbit(y[i]) == std::signbit(want);
      expect(std::isnan(want) ? std::isnan(y[i]) : same, F::name, type_name<T>(), double(x));
    }
  }
}

template <class T>
void specials() {
  using L = std::numeric_limits<T>;
  const T inf = L::infinity(), nan = L::quiet_NaN(), big = L::max(), least = L::min();
  special<exp_>(T(0), T(1)), special<exp_>(T(-0.0), T(1));
  special<exp_>(inf, inf), special<exp_>(-inf, T(0)), special<exp_>(big, inf), special<exp_>(-big, T(0));
  special<exp_>(least, T(1)), special<exp_>(T(1e6), inf), special<exp_>(T(-1e6), T(0));
  special<log_>(T(1), T(0)), special<log_>(T(0), -inf), special<log_>(T(-0.0), -inf), special<log_>(inf, inf);
  special<log_>(-inf, nan), special<log_>(T(-1), nan), special<log_>(-least, nan), special<log_>(-big, nan);
  special<sigmoid_>(T(0), T(0.5)), special<sigmoid_>(T(-0.0), T(0.5)), special<sigmoid_>(inf, T(1));
  special<sigmoid_>(-inf, T(0)), special<sigmoid_>(big, T(1)), special<sigmoid_>(-big, T(0));
  special<sigmoid_>(T(1e6), T(1)), special<sigmoid_>(T(-1e6), T(0)), special<sigmoid_>(least, T(0.5));
  special<tanh_>(T(0), T(0)), special<tanh_>(T(-0.0), T(-0.0)), special<tanh_>(inf, T(1)), special<tanh_>(-inf, T(-1));
  special<tanh_>(big, T(1)), special<tanh_>(-big, T(-1)), special<tanh_>(T(1e6), T(1)), special<tanh_>(T(-1e6), T(-1));
  special<softplus_>(inf, inf), special<softplus_>(-inf, T(0)), special<softplus_>(big, big);
  special<softplus_>(-big, T(0)), special<softplus_>(T(21), T(21));
  special<relu_>(inf, inf), special<relu_>(-inf, T(0)), special<relu_>(T(-1), T(0)), special<relu_>(T(0), T(0));
  special<rsqrt_>(T(0), inf), special<rsqrt_>(inf, T(0)), special<rsqrt_>(T(-1), nan), special<rsqrt_>(T(4), T(0.5));
  for (const T n : {nan, -nan}) {
    special<exp_>(n, nan), special<log_>(n, nan), special<sigmoid_>(n, nan), special<tanh_>(n, nan);
    special<softplus_>(n, nan), special<relu_>(n, nan), special<rsqrt_>(n, nan);
  }
}

// ---- simd.h

template <class T>
void vectors() {
  using V = Vec<T>;
  using L = std::numeric_limits<T>;
  const auto check = [](bool ok, const char* what, double at = 0) { expect(ok, what, type_name<T>(), at); };
  const T inf = L::infinity();
  const V nan = L::quiet_NaN(), one = T(1), two = T(2);
  alignas(64) T p[64], q[64] = {};
  for (int i = 0; i < 64; ++i) p[i] = T(1) / (i + 1);

  const V a = V::load(p), b = V::loadu(p + 1);
  for (int i = 0; i < V::lanes; ++i) {
    check(a[i] == p[i] && b[i] == p[i + 1], "load");
    const T fused = kFusedMultiplyAdd ? std::fma(p[i], p[i + 1], T(2)) : p[i] * p[i + 1] + T(2);
    const T negated = kFusedMultiplyAdd ? std::fma(-p[i], p[i + 1], T(2)) : T(2) - p[i] * p[i + 1];
    check(fma(a, b, two)[i] == fused && fnma(a, b, two)[i] == negated, "fma", i);
    check((a + b)[i] == p[i] + p[i + 1] && (a - b)[i] == p[i] - p[i + 1] && (a / b)[i] == p[i] / p[i + 1], "+ - /", i);
    check((a * b)[i] == p[i] * p[i + 1] && sqrt(a)[i] == std::sqrt(p[i]) && (-a)[i] == -p[i], "* sqrt neg", i);
    check(abs(-a)[i] == p[i], "abs", i);
    check(keep(a < b, one)[i] == 0 && keep(b < a, one)[i] == 1 && keep(a <= a, one)[i] == 1, "lt", i);
    check(keep(a == b, one)[i] == 0 && keep(a == a, one)[i] == 1 && keep(~(a == a), one)[i] == 0, "eq", i);
    check(select(a < T(0.3), a, -b)[i] == (p[i] < T(0.3) ? p[i] : -p[i + 1]), "select", i);
    check(keep(a < T(0.3), b)[i] == (p[i] < T(0.3) ? p[i + 1] : T(0)), "keep", i);
    check(copy_sign(a, -b)[i] == -p[i] && copy_sign(a, b)[i] == p[i] &&
              power_of_two(V(T(i) + Format<T>::biased))[i] == std::ldexp(T(1), i),
          "sign", i);
  }
  a.store(q);
  check(q[V::lanes - 1] == p[V::lanes - 1], "store");

  for (const V& m :
       {max(nan, one), max(one, nan), min(nan, one), min(one, nan), at_least(nan, one), at_most(nan, one)}) {
    check(std::isnan(m[0]), "NaN in min, max");
  }
  check(keep(nan < one, one)[0] == 0 && keep(one <= nan, one)[0] == 0 && keep(nan == nan, one)[0] == 0,
        "NaN compared");
  check(max(one, two)[0] == 2 && max(two, one)[0] == 2 && max(V(inf), one)[0] == inf && max(V(-inf), one)[0] == 1,
        "max");
  check(min(one, two)[0] == 1 && min(two, one)[0] == 1 && min(V(inf), one)[0] == 1 && min(V(-inf), one)[0] == -inf,
        "min");
  check(at_least(one, two)[0] == 2 && at_least(two, one)[0] == 2 && at_most(one, two)[0] == 1 &&
            at_most(two, one)[0] == 1,
        "at_least, at_most");

  check(
      confine(nan, one)[0] * confine(nan, one)[0] <= 1 && confine(V(-inf), two)[0] == -2 && confine(V(3), two)[0] == 2,
      "confine");
  check(confine(one, two)[0] == 1 && confine(V(T(-1.5)), two)[0] == T(-1.5), "confine");

  const int reach = sizeof(T) == 4 ? 250 : 2000;
  for (int n = -reach; n <= reach; ++n) check(scale(V(T(1.375)), T(n))[0] == std::ldexp(T(1.375), n), "scale", n);
  for (int n = L::min_exponent - L::digits + 1; n < L::max_exponent - 1; ++n) {
    for (const T m : {T(1), T(1.25), T(1.4999), T(1.5), T(1.9), T(0.75), T(0.7499)}) {
      const T x = std::ldexp(m, n);
      const Split<T> s = split(V(x));
      check(s.mantissa[0] >= T(0.75) && s.mantissa[0] < T(1.5), "split", x);
      check(std::ldexp(s.mantissa[0], int(s.exponent[0])) == x, "split", x);
    }
  }

  T sum[16];
  for (int i = 0; i < 16; ++i) sum[i] = p[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
  }
  V x[V::per16];
  for (int i = 0; i < V::per16; ++i) x[i] = V::load(p + i * V::lanes);
  check(sum16<T>(x) == sum[0], "sum16");
}

// ---- time

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The processor's cycle, by a chain of additions.
double cycle() {
  double best = 1;
  for (int repeat = 0; repeat < 50; ++repeat) {
    const double start = seconds();
    std::uint64_t x = 1;
    for (int i = 0; i < 10000; ++i) {
#if defined(__x86_64__)
      asm volatile("imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0" : "+r"(x));  // 3 cycles each
#elif defined(__aarch64__)
      asm volatile("mul %0, %0, %0\n mul %0, %0, %0\n mul %0, %0, %0\n mul %0, %0, %0" : "+r"(x));
#endif
    }
    best = std::fmin(best, (seconds() - start) / 120000);
  }
  return best;
}

template <class F, class T>
void bench() {
  alignas(64) static T x[2048], y[2048];  // together within the first-level cache
  for (int i = 0; i < 2048; ++i) x[i] = T((i * 37 % 2048 - 1024) / 128.0);
  double best = 1;
  for (int repeat = 0; repeat < 2000; ++repeat) {
    const double start = seconds();
    for (int k = 0; k < 4; ++k) apply<F>(x, y, 2048);
    best = std::fmin(best, seconds() - start);
  }
  const double each = best / (4 * 2048 / Vec<T>::lanes);
  std::printf("%-8s %-6s x %-2d %6.2f ns %6.2f cycles\n", F::name, type_name<T>(), Vec<T>::lanes, each * 1e9,
              each / cycle());
}

template <class T, class Do>
void each_function(Do what) {
  what.template operator()<exp_, T>();
  what.template operator()<log_, T>();
  what.template operator()<sigmoid_, T>();
  what.template operator()<tanh_, T>();
  what.template operator()<softplus_, T>();
  what.template operator()<relu_, T>();
  what.template operator()<rsqrt_, T>();
}

}  // namespace

int main(int count, char** words) {
  const bool all = count > 1 && !std::strcmp(words[1], "--all");
  const bool time = count > 1 && !std::strcmp(words[1], "--bench");
  std::printf("instruction set %s\n", TEXT(ELMAN_ISA));
  if (time) {
    each_function<float>([]<class F, class T>() { bench<F, T>(); });
    each_function<double>([]<class F, class T>() { bench<F, T>(); });
    return 0;
  }
  vectors<float>(), vectors<double>();
  specials<float>(), specials<double>();
  each_function<float>([=]<class F, class T>() { sweep<F, T>(all); });
  each_function<double>([=]<class F, class T>() { sweep<F, T>(false); });
  if (failures) std::printf("%d failures\n", failures);
  return failures ? 1 : 0;
}
