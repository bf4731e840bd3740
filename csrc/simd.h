// Vectors of T = float, double: the one place that knows instruction sets.
//
// This header is compiled once per instruction set into one library. Everything in it lives in elman::ELMAN_ISA, a
// namespace named by the build (-DELMAN_ISA=avx512 | avx2 | neon | generic), and is always inlined, so that the linker
// can never merge code of two sets. For the same reason nothing here calls an inline function of the standard library.
//
//   set      chosen by                      floats / doubles   fma
//   avx512   __AVX512F__ and __AVX512DQ__   16 / 8             fused
//   avx2     __AVX2__ and __FMA__            8 / 4             fused
//   neon     __ARM_NEON on aarch64           4 / 2             fused
//   generic  otherwise                       4 / 2             NOT fused: fma(a, b, c) is a * b, rounded, + c
//
// Arithmetic, comparisons and choices are the compiler's own on its vector types; the rest is intrinsics.
// Memory is 64-byte aligned, except where a name ends in u. Compile with -ffp-contract=off.
#ifndef ELMAN_SIMD_H_
#define ELMAN_SIMD_H_

#ifndef ELMAN_ISA
#error "the build names the instruction set: -DELMAN_ISA=avx512, avx2, neon or generic"
#endif

#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#pragma GCC diagnostic push
#ifndef __clang__  // gcc 12 takes the "undefined" operands in its own header for bugs (PR 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

#define ELMAN_AVX512 3
#define ELMAN_AVX2 2
#define ELMAN_NEON 1
#define ELMAN_GENERIC 0
// ELMAN_RETURN(sqrt, x): the end of a function of T, returns what the set's intrinsic of that name gives.
#define ELMAN_RETURN_ONE_OF(SINGLE, DOUBLE, ...)                    \
  if constexpr (sizeof(T) == 4) return Vec<T>(SINGLE(__VA_ARGS__)); \
  else return Vec<T>(DOUBLE(__VA_ARGS__))
#if defined(__AVX512F__) && defined(__AVX512DQ__) && !defined(ELMAN_FORCE_GENERIC)
#define ELMAN_SIMD ELMAN_AVX512
#define ELMAN_RETURN(NAME, ...) ELMAN_RETURN_ONE_OF(_mm512_##NAME##_ps, _mm512_##NAME##_pd, __VA_ARGS__)
#elif defined(__AVX2__) && defined(__FMA__) && !defined(ELMAN_FORCE_GENERIC)
#define ELMAN_SIMD ELMAN_AVX2
#define ELMAN_RETURN(NAME, ...) ELMAN_RETURN_ONE_OF(_mm256_##NAME##_ps, _mm256_##NAME##_pd, __VA_ARGS__)
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(ELMAN_FORCE_GENERIC)
#define ELMAN_SIMD ELMAN_NEON
#define ELMAN_RETURN(NAME, ...) ELMAN_RETURN_ONE_OF(v##NAME##q_f32, v##NAME##q_f64, __VA_ARGS__)
#else  // or forced, on a compiler that knows better
#define ELMAN_SIMD ELMAN_GENERIC
#if defined(__SSE2__)
#define ELMAN_RETURN(NAME, ...) ELMAN_RETURN_ONE_OF(_mm_##NAME##_ps, _mm_##NAME##_pd, __VA_ARGS__)
#endif
#endif

#define ELMAN_INLINE [[gnu::always_inline]] inline

namespace elman {
namespace ELMAN_ISA {

inline constexpr int kVectorBytes = ELMAN_SIMD == ELMAN_AVX512 ? 64 : ELMAN_SIMD == ELMAN_AVX2 ? 32 : 16;
inline constexpr bool kScaleTakesAnything = ELMAN_SIMD == ELMAN_AVX512;  // scale(a, n) is right for every n, infinite and NaN too
inline constexpr bool kFusedMultiplyAdd = ELMAN_SIMD != ELMAN_GENERIC;

// The compiler's vector types, and the facts of the number format.
template <class T>
struct Format {
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  using Word = std::make_unsigned_t<Integer>;
  typedef T Real __attribute__((vector_size(kVectorBytes)));
  typedef T Aliased __attribute__((vector_size(kVectorBytes), may_alias));
  typedef T Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
  typedef Integer Signed __attribute__((vector_size(kVectorBytes)));
  typedef Word Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr int mantissa_bits = sizeof(T) == 4 ? 23 : 52;
  static constexpr Word sign_bit = Word{1} << (8 * sizeof(T) - 1);
  static constexpr Word one = __builtin_bit_cast(Word, T(1));
  static constexpr Word three_quarters = __builtin_bit_cast(Word, T(0.75));
  static constexpr T integral = sizeof(T) == 4 ? 0x1p23f : 0x1p52;  // every number from here on is an integer
  static constexpr T magic = integral * T(1.5);  // x + magic rounds x to an integer, found in the low bits, |x| <= integral / 2
  static constexpr T biased = magic + (sizeof(T) == 4 ? 127 : 1023);  // so too; the low bits are the exponent of 2^integer
  static constexpr T least_normal = sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022);
};

// What a comparison gives: all bits of a lane, or none.
template <class T>
using Mask = typename Format<T>::Signed;

template <class T>
struct Vec {
  using F = Format<T>;
  using Real = typename F::Real;
  using Bits = typename F::Bits;
  static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int per16 = 16 / lanes;  // vectors in 16 consecutive elements

  Real v;

  Vec() = default;
  ELMAN_INLINE Vec(Real native) : v(native) {}
  ELMAN_INLINE Vec(T x) : v(x - Real{}) {}  // in every lane, implicit: `1 - y`, `2 * x` read as they should

  ELMAN_INLINE static Vec load(const T* p) { return *reinterpret_cast<const typename F::Aliased*>(p); }
  ELMAN_INLINE static Vec loadu(const T* p) { return *reinterpret_cast<const typename F::Unaligned*>(p); }
  ELMAN_INLINE void store(T* p) const { *reinterpret_cast<typename F::Aliased*>(p) = v; }
  ELMAN_INLINE static Vec from_bits(Bits bits) { return reinterpret_cast<Real>(bits); }
  ELMAN_INLINE Bits bits() const { return reinterpret_cast<Bits>(v); }
  ELMAN_INLINE T operator[](int lane) const { return v[lane]; }

  ELMAN_INLINE friend Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  ELMAN_INLINE friend Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  ELMAN_INLINE friend Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  ELMAN_INLINE friend Vec operator/(Vec a, Vec b) { return a.v / b.v; }
  ELMAN_INLINE friend Vec operator-(Vec a) { return -a.v; }
  ELMAN_INLINE Vec& operator+=(Vec b) { return *this = *this + b; }

  // False where an operand is NaN.
  ELMAN_INLINE friend Mask<T> operator<(Vec a, Vec b) { return a.v < b.v; }
  ELMAN_INLINE friend Mask<T> operator<=(Vec a, Vec b) { return a.v <= b.v; }
  ELMAN_INLINE friend Mask<T> operator==(Vec a, Vec b) { return a.v == b.v; }
};

// Parameters that take no part in deducing T, so that a plain number may stand in them.
template <class T>
using Other = std::type_identity_t<Vec<T>>;

// ---- arithmetic

// a b + c, rounded once (generic: twice).
template <class T>
ELMAN_INLINE Vec<T> fma(Vec<T> a, Other<T> b, Other<T> c) {
#if ELMAN_SIMD == ELMAN_GENERIC
  return a * b + c;
#elif ELMAN_SIMD == ELMAN_NEON
  ELMAN_RETURN(fma, c.v, a.v, b.v);
#else
  ELMAN_RETURN(fmadd, a.v, b.v, c.v);
#endif
}

// c - a b, rounded once (generic: twice).
template <class T>
ELMAN_INLINE Vec<T> fnma(Vec<T> a, Other<T> b, Other<T> c) {
#if ELMAN_SIMD == ELMAN_GENERIC
  return c - a * b;
#elif ELMAN_SIMD == ELMAN_NEON
  ELMAN_RETURN(fms, c.v, a.v, b.v);
#else
  ELMAN_RETURN(fnmadd, a.v, b.v, c.v);
#endif
}

template <class T>
ELMAN_INLINE Vec<T> abs(Vec<T> a) {
  return Vec<T>::from_bits(a.bits() & ~Format<T>::sign_bit);
}

// |a| with the sign of `sign`, for a >= 0 or NaN.
template <class T>
ELMAN_INLINE Vec<T> copy_sign(Vec<T> a, Vec<T> sign) {
  return Vec<T>::from_bits(a.bits() | (sign.bits() & Format<T>::sign_bit));
}

// Correctly rounded square root.
template <class T>
ELMAN_INLINE Vec<T> sqrt(Vec<T> a) {
#if defined(ELMAN_RETURN)
  ELMAN_RETURN(sqrt, a.v);
#else
  for (int i = 0; i < Vec<T>::lanes; ++i) a.v[i] = sizeof(T) == 4 ? __builtin_sqrtf(a.v[i]) : __builtin_sqrt(a.v[i]);
  return a;
#endif
}

// ---- choices

// mask ? a : b, lane by lane.
template <class T>
ELMAN_INLINE Vec<T> select(Mask<T> mask, Vec<T> a, Other<T> b) {
  return mask ? a.v : b.v;
}

// mask ? a : 0; keep(mask, 1) is how a step program writes conditions.
template <class T>
ELMAN_INLINE Vec<T> keep(Mask<T> mask, Vec<T> a) {
  return mask ? a.v : Vec<T>(0).v;
}

// The larger of x and `bound`, a number: one instruction on x86. A NaN in x comes out; x where they are equal.
template <class T>
ELMAN_INLINE Vec<T> at_least(Vec<T> x, Other<T> bound) {
#if defined(__SSE2__)
  ELMAN_RETURN(max, bound.v, x.v);  // the second operand wins ties and NaN
#else
  return select(x < bound, bound, x);
#endif
}

// The smaller of x and `bound`, a number. A NaN in x comes out; x where they are equal.
template <class T>
ELMAN_INLINE Vec<T> at_most(Vec<T> x, Other<T> bound) {
#if defined(__SSE2__)
  ELMAN_RETURN(min, bound.v, x.v);
#else
  return select(bound < x, bound, x);
#endif
}

// a where |a| <= bound; otherwise, and for NaN, some number within the bound.
template <class T>
ELMAN_INLINE Vec<T> confine(Vec<T> a, Other<T> bound) {
#if ELMAN_SIMD == ELMAN_AVX512
  ELMAN_RETURN(range, a.v, bound.v, 2);  // the smaller size, the sign of the first
#else
  return select(a < bound, at_least(a, -bound), bound);
#endif
}

// The larger of a and b; NaN where either is NaN, as torch.maximum; b where they are equal (so for zeros of two signs).
template <class T>
ELMAN_INLINE Vec<T> max(Vec<T> a, Other<T> b) {
  return select(a == a, at_least(b, a), a);
}

// The smaller of a and b; NaN where either is NaN, as torch.minimum; b where they are equal.
template <class T>
ELMAN_INLINE Vec<T> min(Vec<T> a, Other<T> b) {
  return select(a == a, at_most(b, a), a);
}

// ---- integers, exponents and mantissas

// 2^n, of n + biased, where it is a normal number.
template <class T>
ELMAN_INLINE Vec<T> power_of_two(Vec<T> biased_n) {
  return Vec<T>::from_bits(biased_n.bits() << Format<T>::mantissa_bits);
}

// a 2^n for integer-valued n, |n| <= 250 (float) or 2000 (double), any n on avx512. Overflows and underflows as the
// product does (so denormal results are right unless the thread flushes them).
template <class T>
ELMAN_INLINE Vec<T> scale(Vec<T> a, Other<T> n) {
#if ELMAN_SIMD == ELMAN_AVX512
  ELMAN_RETURN(scalef, a.v, n.v);
#else  // in two steps, as 2^n alone may not be a number
  const Vec<T> half = fma(n, T(0.5), Format<T>::biased);
  return a * power_of_two(half) * power_of_two((n - (half - Format<T>::biased)) + Format<T>::biased);
#endif
}

// x = mantissa 2^exponent with 0.75 <= mantissa < 1.5, for finite x > 0 (denormal x too unless the thread flushes
// them); anything for other x.
template <class T>
struct Split {
  Vec<T> mantissa, exponent;
};

#if ELMAN_SIMD == ELMAN_AVX512
template <class T>
ELMAN_INLINE Vec<T> mantissa_of(Vec<T> x) {
  ELMAN_RETURN(getmant, x.v, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
}
template <class T>
ELMAN_INLINE Vec<T> exponent_of(Vec<T> x) {
  ELMAN_RETURN(getexp, x.v);  // where the mantissa is in [1, 2)
}
template <class T>
ELMAN_INLINE Split<T> split(Vec<T> x) {
  const Vec<T> mantissa = mantissa_of(x);
  return {mantissa, exponent_of(x) + keep(mantissa < T(1), Vec<T>(T(1)))};
}
#else
template <class T>
ELMAN_INLINE Split<T> split(Vec<T> x) {
  using F = Format<T>;
  const Mask<T> tiny = x < F::least_normal;
  const Vec<T> y = select(tiny, x * F::integral, x);
  // The biased exponent is kept positive through the shift, then becomes the low bits of magic + exponent.
  const auto biased = (y.bits() - F::three_quarters + F::one) >> F::mantissa_bits;
  const Vec<T> bias = F::magic + Vec<T>(T(F::one >> F::mantissa_bits));
  const Vec<T> wide = Vec<T>::from_bits(biased + Vec<T>(F::magic).bits());
  const Vec<T> mantissa = Vec<T>::from_bits(y.bits() - (biased << F::mantissa_bits) + F::one);
  return {mantissa, (wide - bias) - keep(tiny, Vec<T>(T(F::mantissa_bits)))};
}
#endif

// The sum of 16 consecutive elements, by halves: first i with i + 8, then i with i + 4, i with i + 2, the last two.
// Same tree, so same bits, on every instruction set and for both types.
template <class T>
ELMAN_INLINE T sum16(const Vec<T> (&x)[Vec<T>::per16]) {
  T part[16];
  for (int i = 0; i < 16; ++i) part[i] = x[i / Vec<T>::lanes][i % Vec<T>::lanes];
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  return part[0];
}

}  // namespace ELMAN_ISA
}  // namespace elman

#endif  // ELMAN_SIMD_H_
