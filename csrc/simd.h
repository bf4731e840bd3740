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
// Memory is 64-byte aligned, except where a name ends in u. Compile with -ffp-contract=off.
#ifndef ELMAN_SIMD_H_
#define ELMAN_SIMD_H_

#ifndef ELMAN_ISA
#error "the build names the instruction set: -DELMAN_ISA=avx512, avx2, neon or generic"
#endif

#include <cstdint>

#if defined(ELMAN_FORCE_GENERIC)  // for tests: the generic set on a compiler that knows better
#define ELMAN_SIMD_GENERIC 1
#elif defined(__AVX512F__) && defined(__AVX512DQ__)
#define ELMAN_SIMD_AVX512 1
#elif defined(__AVX2__) && defined(__FMA__)
#define ELMAN_SIMD_AVX2 1
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define ELMAN_SIMD_NEON 1
#else
#define ELMAN_SIMD_GENERIC 1
#endif

#if defined(ELMAN_SIMD_AVX512) || defined(ELMAN_SIMD_AVX2)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push  // gcc 12 takes the "undefined" operands in its own header for bugs (PR 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(ELMAN_SIMD_NEON)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define ELMAN_INLINE [[gnu::always_inline]] inline

namespace elman {
namespace ELMAN_ISA {

#if defined(ELMAN_SIMD_AVX512)
inline constexpr int kVectorBytes = 64;
#elif defined(ELMAN_SIMD_AVX2)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

#if defined(ELMAN_SIMD_GENERIC)
inline constexpr bool kFusedMultiplyAdd = false;
#else
inline constexpr bool kFusedMultiplyAdd = true;
#endif

#if defined(ELMAN_SIMD_AVX512)
inline constexpr bool kScaleTakesAnything = true;  // scale(a, n) is right for every n, infinite and NaN too
#else
inline constexpr bool kScaleTakesAnything = false;
#endif

// The compiler's vector types, and the facts of the number format.
template <class T>
struct Format;

template <>
struct Format<float> {
  using Integer = std::int32_t;
  typedef float Real __attribute__((vector_size(kVectorBytes)));
  typedef float Unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef std::int32_t Signed __attribute__((vector_size(kVectorBytes)));
  typedef std::uint32_t Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr int mantissa_bits = 23;
  static constexpr std::uint32_t sign_bit = 0x80000000u;
  static constexpr std::uint32_t one = 0x3f800000u;             // the bits of 1.0
  static constexpr std::uint32_t three_quarters = 0x3f400000u;  // the bits of 0.75
  static constexpr float magic = 0x1.8p23f;   // x + magic rounds x to an integer, found in the low bits, |x| <= 2^22
  static constexpr float integral = 0x1p23f;  // every number from here on is an integer
  static constexpr float least_normal = 0x1p-126f;
#if defined(ELMAN_SIMD_AVX512)
  using Mask = __mmask16;
#else
  using Mask = Signed;
#endif
};

template <>
struct Format<double> {
  using Integer = std::int64_t;
  typedef double Real __attribute__((vector_size(kVectorBytes)));
  typedef double Unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef std::int64_t Signed __attribute__((vector_size(kVectorBytes)));
  typedef std::uint64_t Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr int mantissa_bits = 52;
  static constexpr std::uint64_t sign_bit = 0x8000000000000000u;
  static constexpr std::uint64_t one = 0x3ff0000000000000u;
  static constexpr std::uint64_t three_quarters = 0x3fe8000000000000u;
  static constexpr double magic = 0x1.8p52;
  static constexpr double integral = 0x1p52;
  static constexpr double least_normal = 0x1p-1022;
#if defined(ELMAN_SIMD_AVX512)
  using Mask = __mmask8;
#else
  using Mask = Signed;
#endif
};

// What a comparison gives, one truth value a lane.
template <class T>
struct Mask {
  using Native = typename Format<T>::Mask;
  Native m;
  ELMAN_INLINE friend Mask operator&(Mask a, Mask b) { return {static_cast<Native>(a.m & b.m)}; }
  ELMAN_INLINE friend Mask operator|(Mask a, Mask b) { return {static_cast<Native>(a.m | b.m)}; }
  ELMAN_INLINE friend Mask operator!(Mask a) { return {static_cast<Native>(~a.m)}; }
};

template <class T>
struct Vec {
  using Scalar = T;
  using Real = typename Format<T>::Real;
  using Bits = typename Format<T>::Bits;
  using Integer = typename Format<T>::Integer;
  static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int per16 = 16 / lanes;  // vectors in 16 consecutive elements

  Real v;

  Vec() = default;
  ELMAN_INLINE Vec(Real native) : v(native) {}
  ELMAN_INLINE Vec(T x) : v(x - Real{}) {}  // a splat, implicit: `1 - y`, `2 * x` read as they should

  ELMAN_INLINE static Vec splat(T x) { return Vec(x); }
  ELMAN_INLINE static Vec zero() { return Real{}; }
  ELMAN_INLINE static Vec load(const T* p) { return *reinterpret_cast<const Aliased*>(p); }
  ELMAN_INLINE static Vec loadu(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
  ELMAN_INLINE void store(T* p) const { *reinterpret_cast<Aliased*>(p) = v; }
  ELMAN_INLINE static Vec from_bits(Bits bits) { return reinterpret_cast<Real>(bits); }
  ELMAN_INLINE Bits bits() const { return reinterpret_cast<Bits>(v); }
  ELMAN_INLINE T operator[](int lane) const { return v[lane]; }

  ELMAN_INLINE friend Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  ELMAN_INLINE friend Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  ELMAN_INLINE friend Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  ELMAN_INLINE friend Vec operator/(Vec a, Vec b) { return a.v / b.v; }
  ELMAN_INLINE friend Vec operator-(Vec a) { return from_bits(a.bits() ^ Format<T>::sign_bit); }
  ELMAN_INLINE Vec& operator+=(Vec b) { return *this = *this + b; }
  ELMAN_INLINE Vec& operator-=(Vec b) { return *this = *this - b; }
  ELMAN_INLINE Vec& operator*=(Vec b) { return *this = *this * b; }

 private:
  typedef Real Aliased __attribute__((may_alias));
  using Unaligned = typename Format<T>::Unaligned;
};

template <class T>
struct Identity {
  using type = T;
};
// A parameter that takes no part in deducing T, so that a plain number may stand in it.
template <class T>
using Other = typename Identity<Vec<T>>::type;

// ---- arithmetic

// a b + c, rounded once (generic: twice).
template <class T>
ELMAN_INLINE Vec<T> fma(Vec<T> a, Other<T> b, Other<T> c) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_fmadd_ps(a.v, b.v, c.v));
  else return Vec<T>(_mm512_fmadd_pd(a.v, b.v, c.v));
#elif defined(ELMAN_SIMD_AVX2)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_fmadd_ps(a.v, b.v, c.v));
  else return Vec<T>(_mm256_fmadd_pd(a.v, b.v, c.v));
#elif defined(ELMAN_SIMD_NEON)
  if constexpr (sizeof(T) == 4) return Vec<T>(vfmaq_f32(c.v, a.v, b.v));
  else return Vec<T>(vfmaq_f64(c.v, a.v, b.v));
#else
  return a * b + c;
#endif
}

// c - a b, rounded once (generic: twice).
template <class T>
ELMAN_INLINE Vec<T> fnma(Vec<T> a, Other<T> b, Other<T> c) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_fnmadd_ps(a.v, b.v, c.v));
  else return Vec<T>(_mm512_fnmadd_pd(a.v, b.v, c.v));
#elif defined(ELMAN_SIMD_AVX2)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_fnmadd_ps(a.v, b.v, c.v));
  else return Vec<T>(_mm256_fnmadd_pd(a.v, b.v, c.v));
#elif defined(ELMAN_SIMD_NEON)
  if constexpr (sizeof(T) == 4) return Vec<T>(vfmsq_f32(c.v, a.v, b.v));
  else return Vec<T>(vfmsq_f64(c.v, a.v, b.v));
#else
  return c - a * b;
#endif
}

template <class T>
ELMAN_INLINE Vec<T> neg(Vec<T> a) {
  return -a;
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
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_sqrt_ps(a.v));
  else return Vec<T>(_mm512_sqrt_pd(a.v));
#elif defined(ELMAN_SIMD_AVX2)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_sqrt_ps(a.v));
  else return Vec<T>(_mm256_sqrt_pd(a.v));
#elif defined(ELMAN_SIMD_NEON)
  if constexpr (sizeof(T) == 4) return Vec<T>(vsqrtq_f32(a.v));
  else return Vec<T>(vsqrtq_f64(a.v));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm_sqrt_ps(a.v));
  else return Vec<T>(_mm_sqrt_pd(a.v));
#else
  Vec<T> r;
  for (int i = 0; i < Vec<T>::lanes; ++i) {
    if constexpr (sizeof(T) == 4) r.v[i] = __builtin_sqrtf(a.v[i]);
    else r.v[i] = __builtin_sqrt(a.v[i]);
  }
  return r;
#endif
}

// ---- comparisons; false where an operand is NaN

template <class T>
ELMAN_INLINE Mask<T> lt(Vec<T> a, Other<T> b) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
  else return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)};
#else
  return {a.v < b.v};
#endif
}

template <class T>
ELMAN_INLINE Mask<T> le(Vec<T> a, Other<T> b) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
  else return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)};
#else
  return {a.v <= b.v};
#endif
}

template <class T>
ELMAN_INLINE Mask<T> eq(Vec<T> a, Other<T> b) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
  else return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)};
#else
  return {a.v == b.v};
#endif
}

template <class T>
ELMAN_INLINE Mask<T> is_nan(Vec<T> a) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)};
  else return {_mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q)};
#else
  return {a.v != a.v};
#endif
}

// mask ? a : b, lane by lane.
template <class T>
ELMAN_INLINE Vec<T> select(Mask<T> mask, Other<T> a, Other<T> b) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_mask_blend_ps(mask.m, b.v, a.v));
  else return Vec<T>(_mm512_mask_blend_pd(mask.m, b.v, a.v));
#elif defined(ELMAN_SIMD_AVX2)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_blendv_ps(b.v, a.v, reinterpret_cast<typename Vec<T>::Real>(mask.m)));
  else return Vec<T>(_mm256_blendv_pd(b.v, a.v, reinterpret_cast<typename Vec<T>::Real>(mask.m)));
#else
  using Bits = typename Vec<T>::Bits;
  const Bits m = reinterpret_cast<Bits>(mask.m);
  return Vec<T>::from_bits((a.bits() & m) | (b.bits() & ~m));
#endif
}

// mask ? a : 0
template <class T>
ELMAN_INLINE Vec<T> keep(Mask<T> mask, Other<T> a) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_maskz_mov_ps(mask.m, a.v));
  else return Vec<T>(_mm512_maskz_mov_pd(mask.m, a.v));
#else
  return Vec<T>::from_bits(a.bits() & reinterpret_cast<typename Vec<T>::Bits>(mask.m));
#endif
}

// mask ? 1.0 : 0.0, how a step program writes conditions.
template <class T>
ELMAN_INLINE Vec<T> to_real(Mask<T> mask) {
  return keep(mask, Vec<T>(T(1)));
}

// The larger of x and `bound`, a number: one instruction on x86. A NaN in x comes out; x where they are equal.
template <class T>
ELMAN_INLINE Vec<T> at_least(Vec<T> x, Other<T> bound) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_max_ps(bound.v, x.v));  // the second operand wins ties and NaN
  else return Vec<T>(_mm512_max_pd(bound.v, x.v));
#elif defined(ELMAN_SIMD_AVX2)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_max_ps(bound.v, x.v));
  else return Vec<T>(_mm256_max_pd(bound.v, x.v));
#elif defined(ELMAN_SIMD_GENERIC) && defined(__SSE2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm_max_ps(bound.v, x.v));
  else return Vec<T>(_mm_max_pd(bound.v, x.v));
#else
  return select(lt(x, bound), bound, x);
#endif
}

// The smaller of x and `bound`, a number. A NaN in x comes out; x where they are equal.
template <class T>
ELMAN_INLINE Vec<T> at_most(Vec<T> x, Other<T> bound) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_min_ps(bound.v, x.v));
  else return Vec<T>(_mm512_min_pd(bound.v, x.v));
#elif defined(ELMAN_SIMD_AVX2)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm256_min_ps(bound.v, x.v));
  else return Vec<T>(_mm256_min_pd(bound.v, x.v));
#elif defined(ELMAN_SIMD_GENERIC) && defined(__SSE2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm_min_ps(bound.v, x.v));
  else return Vec<T>(_mm_min_pd(bound.v, x.v));
#else
  return select(lt(bound, x), bound, x);
#endif
}

// a where |a| <= bound; otherwise, and for NaN, some number within the bound.
template <class T>
ELMAN_INLINE Vec<T> confine(Vec<T> a, Other<T> bound) {
#if defined(ELMAN_SIMD_AVX512)
  constexpr int smaller_size_sign_of_first = 2;
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_range_ps(a.v, bound.v, smaller_size_sign_of_first));
  else return Vec<T>(_mm512_range_pd(a.v, bound.v, smaller_size_sign_of_first));
#else
  return select(lt(a, bound), at_least(a, -bound), bound);
#endif
}

// The larger of a and b; NaN where either is NaN, as torch.maximum; b where they are equal (so for zeros of two signs).
template <class T>
ELMAN_INLINE Vec<T> max(Vec<T> a, Other<T> b) {
  return select(is_nan(a), a, at_least(b, a));
}

// The smaller of a and b; NaN where either is NaN, as torch.minimum; b where they are equal.
template <class T>
ELMAN_INLINE Vec<T> min(Vec<T> a, Other<T> b) {
  return select(is_nan(a), a, at_most(b, a));
}

// ---- integers, exponents and mantissas

// a 2^n for integer-valued n, |n| <= 250 (float) or 2000 (double), any n on avx512. Overflows and underflows as the
// product does (so denormal results are right unless the thread flushes them).
template <class T>
ELMAN_INLINE Vec<T> scale(Vec<T> a, Other<T> n) {
#if defined(ELMAN_SIMD_AVX512)
  if constexpr (sizeof(T) == 4) return Vec<T>(_mm512_scalef_ps(a.v, n.v));
  else return Vec<T>(_mm512_scalef_pd(a.v, n.v));
#else
  // In two steps, as 2^n alone may not be a number. The low bits of h + magic are the integer h.
  const Vec<T> first = fma(n, T(0.5), Format<T>::magic);
  const Vec<T> second = (n - (first - Format<T>::magic)) + Format<T>::magic;
  const Vec<T> p = Vec<T>::from_bits((first.bits() << Format<T>::mantissa_bits) + Format<T>::one);
  const Vec<T> q = Vec<T>::from_bits((second.bits() << Format<T>::mantissa_bits) + Format<T>::one);
  return a * p * q;
#endif
}

// 2^n for integer-valued n where that is a normal number.
template <class T>
ELMAN_INLINE Vec<T> scale_one(Vec<T> n) {
#if defined(ELMAN_SIMD_AVX512)
  return scale(Vec<T>(T(1)), n);
#else
  return Vec<T>::from_bits(((n + Format<T>::magic).bits() << Format<T>::mantissa_bits) + Format<T>::one);
#endif
}

// x = mantissa 2^exponent with 0.75 <= mantissa < 1.5, for finite x > 0 (denormal x too unless the thread flushes
// them); anything for other x.
template <class T>
struct Split {
  Vec<T> mantissa, exponent;
};

template <class T>
ELMAN_INLINE Split<T> split(Vec<T> x) {
#if defined(ELMAN_SIMD_AVX512)
  Split<T> s;
  if constexpr (sizeof(T) == 4) {
    s.mantissa = Vec<T>(_mm512_getmant_ps(x.v, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src));
    s.exponent = Vec<T>(_mm512_getexp_ps(x.v));  // of a mantissa in [1, 2)
  } else {
    s.mantissa = Vec<T>(_mm512_getmant_pd(x.v, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src));
    s.exponent = Vec<T>(_mm512_getexp_pd(x.v));
  }
  s.exponent += to_real(lt(s.mantissa, T(1)));
  return s;
#else
  using F = Format<T>;
  const Mask<T> tiny = lt(x, F::least_normal);
  const Vec<T> y = select(tiny, x * F::integral, x);
  // The biased exponent is kept positive through the shift, then becomes the low bits of magic + exponent.
  const auto shifted = y.bits() - F::three_quarters + F::one;
  const auto biased = shifted >> F::mantissa_bits;
  const Vec<T> bias = F::magic + Vec<T>(T(F::one >> F::mantissa_bits));
  const Vec<T> wide = Vec<T>::from_bits(biased + Vec<T>(F::magic).bits());
  const Vec<T> mantissa = Vec<T>::from_bits(y.bits() - (biased << F::mantissa_bits) + F::one);
  return {mantissa, (wide - bias) - keep(tiny, T(F::mantissa_bits))};
#endif
}

// ---- sums across lanes

// The sum of 16 consecutive elements, by halves: first i with i + 8, then i with i + 4, i with i + 2, the last two.
// Same tree, so same bits, on every instruction set and for both types.
template <class T>
ELMAN_INLINE T sum16(const Vec<T> (&x)[Vec<T>::per16]) {
  constexpr int n = Vec<T>::per16;
  Vec<T> part[n];
  for (int i = 0; i < n; ++i) part[i] = x[i];
  for (int half = n / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  }
  T lane[Vec<T>::lanes];
  for (int i = 0; i < Vec<T>::lanes; ++i) lane[i] = part[0].v[i];
  for (int half = Vec<T>::lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

// The same of memory: p [16], aligned.
template <class T>
ELMAN_INLINE T sum16(const T* p) {
  Vec<T> x[Vec<T>::per16];
  for (int i = 0; i < Vec<T>::per16; ++i) x[i] = Vec<T>::load(p + i * Vec<T>::lanes);
  return sum16<T>(x);
}

}  // namespace ELMAN_ISA
}  // namespace elman

#endif  // ELMAN_SIMD_H_
