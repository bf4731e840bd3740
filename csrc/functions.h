// exp, log, sigmoid, tanh, softplus, relu, rsqrt on vectors of float and double (see simd.h).
//
// Right at +-0, +-inf and for NaN (NaN out); no tables, no calls. functions_test.cpp measures the errors on every set:
// float at most 2 ulp (tanh: 1.1), double at most 4 (tanh: 2.1). A result that would be denormal may come out as 0.
// Results differ by roundings between instruction sets (with and without fused multiply-add).
// Every polynomial is the fit of benchmarks/fit_functions.py: Remez exchange on the relative error of the function,
// coefficients rounded one after the other. The functions are chains of dependent operations: give them a loop over at
// least four vectors, and the processor overlaps them.
#ifndef ELMAN_FUNCTIONS_H_
#define ELMAN_FUNCTIONS_H_

#include "simd.h"

namespace elman {
namespace ELMAN_ISA {

template <class T>
struct Constants;

template <>
struct Constants<float> {
  static constexpr float per_log2 = 0x1.715476p+0f;  // 1 / log 2
  static constexpr float log2_high = 0x1.62e8p-1f;   // log 2 in two parts; a small integer times the first is exact
  static constexpr float log2_low = -0x1.e8082ep-16f;
  static constexpr float log2_half = 0x1.62e43p-2f;
  static constexpr float exp_low = -106, exp_high = 89;      // beyond, exp is 0 or infinite
  static constexpr float sigmoid_high = 20, tanh_high = 10;  // beyond, sigmoid and tanh are 1
  // exp(r), |r| <= log(2) / 2
  static constexpr float exp[] = {0x1p+0f,        0x1p+0f,        0x1.fffffcp-2f, 0x1.555492p-3f,
                                  0x1.5558aap-5f, 0x1.12396ep-7f, 0x1.6a524ep-10f};
  // sigmoid_scale exp(r)
  static constexpr float sigmoid_scale = 1.5f;
  static constexpr float sigmoid[] = {0x1.8p+0f,      0x1.8p+0f,      0x1.7ffffcp-1f, 0x1.fffedep-3f,
                                      0x1.00032ep-4f, 0x1.9b54a2p-7f, 0x1.0f4b56p-9f};
  // (tanh(x) / x - 1) / x^2 by powers of x^2, |x| <= tanh_small
  static constexpr float tanh_small = 0.8f;
  static constexpr float tanh[] = {-0x1.55553ep-2f, 0x1.110b58p-3f,  -0x1.b92b2ep-5f,
                                   0x1.5d160cp-6f,  -0x1.e5e520p-8f, 0x1.a00852p-10f};
  // (log(1 + f) - f + f^2 / 2) / f^3, 0.75 <= 1 + f < 1.5
  static constexpr float log[] = {0x1.5555a4p-2f, -0x1.00004ap-2f, 0x1.99699ep-3f, -0x1.54ed96p-3f,
                                  0x1.28807ap-3f, -0x1.0d98f4p-3f, 0x1.acf4d2p-4f, -0x1.71e394p-5f};
};

template <>
struct Constants<double> {
  static constexpr double per_log2 = 0x1.71547652b82fep+0;
  static constexpr double log2_high = 0x1.62e42fefa4p-1;
  static constexpr double log2_low = -0x1.8432a1b0e2634p-43;
  static constexpr double log2_half = 0x1.62e42fefa39efp-2;
  static constexpr double exp_low = -747, exp_high = 710;
  static constexpr double sigmoid_high = 40, tanh_high = 20;
  static constexpr double exp[] = {0x1p+0, 0x1p+0, 0x1.000000000000ap-1, 0x1.555555555550cp-3,
                                   0x1.555555555079ep-5, 0x1.1111111124722p-7, 0x1.6c16c18438f77p-10, 0x1.a01a013806d76p-13,
                                   0x1.a0199a0d6a3fcp-16, 0x1.71df0cf5e25f8p-19, 0x1.28ad5e9dcb4e8p-22, 0x1.ad9f0b71e7732p-26};
  static constexpr double sigmoid_scale = 1;
  static constexpr const double (&sigmoid)[12] = exp;
  // ((exp(2 r) - 1) / 2 - r) / r^2, |r| <= log(2) / 4
  static constexpr double expm1[] = {0x1p+0, 0x1.5555555555559p-1, 0x1.5555555555559p-2, 0x1.111111110f70bp-3,
                                     0x1.6c16c16c16871p-5, 0x1.a01a01af9bd61p-7, 0x1.a01a019e244d0p-9, 0x1.71ddf93a419edp-11,
                                     0x1.27e4f937c2f5fp-13, 0x1.af5d038d59dedp-16, 0x1.1f38036f4d8e5p-18};
  // (2 atanh(s) / s - 2) / s^2 by powers of s^2, s = f / (2 + f)
  static constexpr double log[] = {0x1.555555555554fp-1, 0x1.999999999c175p-2, 0x1.24924921e4c28p-2, 0x1.c71c748f334eep-3,
                                   0x1.745c4b02bf946p-3, 0x1.3b35bb35152b8p-3, 0x1.0dcbfb31daabdp-3, 0x1.1b7ebd98e56e8p-3};
};

// The sum of c[k] (Scale x)^k.
template <int Scale = 1, class T, int N>
ELMAN_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[N]) {
  T power[N] = {1};
  for (int k = 1; k < N; ++k) power[k] = power[k - 1] * Scale;
  Vec<T> y = c[N - 1] * power[N - 1];
#pragma GCC unroll 16
  for (int k = N - 2; k >= 0; --k) y = fma(y, x, c[k] * power[k]);
  return y;
}

// exp(x), times the factor that the coefficients c of exp(r) have: x = n log(2) + r.
template <class T, int N>
ELMAN_INLINE Vec<T> exp_of(Vec<T> x, const T (&c)[N]) {
  using C = Constants<T>;
  if constexpr (!kScaleTakesAnything) x = at_least(at_most(x, C::exp_high), C::exp_low);
  const Vec<T> n = fma(x, C::per_log2, Format<T>::magic) - Format<T>::magic;
  Vec<T> r = fnma(n, C::log2_low, fnma(n, C::log2_high, x));
  if constexpr (kScaleTakesAnything) r = confine(r, T(0.5));  // of infinite or huge x only n matters
  return scale(polynomial(r, c), n);
}

template <class T>
ELMAN_INLINE Vec<T> exp(Vec<T> x) {
  return exp_of(x, Constants<T>::exp);
}

// e / (e + k) for e = k exp(x): for x -> -inf as exact as exp(x), which (1 + tanh(x / 2)) / 2 is not.
//
// A rounding error is up to twice as large next to a mantissa just above 1 as to one just below 2. With k = 1.5 the
// errors of e and of e + k are never both large, where the result's mantissa makes them count: 1.95 ulp against 2.22
// for k = 1. Without fused multiply-add that is not enough: there, below 1/2, e - e s, which does not feel the rounding
// of e + 1.
template <class T>
ELMAN_INLINE Vec<T> sigmoid(Vec<T> x) {
  using C = Constants<T>;
  x = at_most(x, C::sigmoid_high);
  if constexpr (kFusedMultiplyAdd) {
    const Vec<T> e = exp_of(x, C::sigmoid);
    return e / (e + C::sigmoid_scale);
  }
  const Vec<T> e = exp(x), s = e / (e + T(1));
  return select(e < T(0.5), fnma(e, s, e), s);
}

// Float: x + x^3 P(x^2) where |x| is small; else 1 - 2 / (exp(2 |x|) + 1), in which an error of the quotient counts little.
// Double, where P would be long: (1 - z) / 2 over (1 + z) / 2 for z = exp(-2 |x|), both from q = (1 - exp(-2 r)) / 2, which
// does not cancel: z = 2^n (1 - 2 q).
template <class T>
ELMAN_INLINE Vec<T> tanh(Vec<T> x) {
  using C = Constants<T>;
  constexpr T sign = sizeof(T) == 4 ? 1 : -1;  // exp(2 y) or exp(-2 y) is 2^n times exp(2 r) or exp(-2 r)
  const Vec<T> y = at_most(abs(x), C::tanh_high);
  const Vec<T> biased_n = fma(y, sign * 2 * C::per_log2, Format<T>::biased), power = power_of_two(biased_n);
  // One part of log 2 will do: the further n from 0, the less r matters.
  const Vec<T> r = fma(biased_n - Format<T>::biased, -sign * C::log2_half, y);
  if constexpr (sizeof(T) == 4) {
    const Vec<T> large = T(1) - T(2) / fma(power, polynomial<2>(r, C::exp), T(1));
    const Vec<T> z = y * y, small = fma(y * z, polynomial(z, C::tanh), y);
    return copy_sign(select(y < C::tanh_small, small, large), x);
  } else {
    const Vec<T> q = fnma(r * r, polynomial<-1>(r, C::expm1), r), half = power * T(0.5);
    return copy_sign(fma(power, q, T(0.5) - half) / fnma(power, q, T(0.5) + half), x);
  }
}

// log((1 + f) 2^e) for 0.75 <= 1 + f < 1.5.
template <class T>
ELMAN_INLINE Vec<T> log_of(Vec<T> f, Vec<T> e) {
  using C = Constants<T>;
  const Vec<T> low = e * C::log2_low, high = e * C::log2_high;
  if constexpr (sizeof(T) == 4) {
    const Vec<T> tail = fma(f * f, fma(f, polynomial(f, C::log), T(-0.5)), low);
    return high + (f + tail);
  } else {
    const Vec<T> half_square = f * f * T(0.5), s = f / (f + T(2)), z = s * s;
    const Vec<T> tail = fma(s, fma(z, polynomial(z, C::log), half_square), low);
    return high + (f - (half_square - tail));
  }
}

template <class T>
ELMAN_INLINE Vec<T> log(Vec<T> x) {
  const T infinity = T(__builtin_inff()), nan = T(__builtin_nanf(""));
  const Split<T> s = split(x);
  Vec<T> y = log_of(s.mantissa - T(1), s.exponent);
  y = select(x < infinity, y, x);
  y = select(x == T(0), Vec<T>(-infinity), y);
  return select(x < T(0), Vec<T>(nan), y);
}

// log(1 + exp(x)), and x for x > 20, as torch.nn.functional.softplus.
template <class T>
ELMAN_INLINE Vec<T> softplus(Vec<T> x) {
  const Vec<T> z = exp(-abs(x));  // log(1 + exp(x)) = max(x, 0) + log(1 + z)
  const Mask<T> large = T(0.5) <= z;
  const Vec<T> f = select(large, (z - T(1)) * T(0.5), z);  // exact: 1 + z = (1 + f) 2^e
  const Vec<T> y = at_least(x, T(0)) + log_of(f, keep(large, Vec<T>(1)));
  return select(T(20) < x, x, y);
}

// max(x, 0); NaN passes.
template <class T>
ELMAN_INLINE Vec<T> relu(Vec<T> x) {
  return at_least(x, T(0));
}

// 1 / sqrt(x): infinite at 0, NaN below.
template <class T>
ELMAN_INLINE Vec<T> rsqrt(Vec<T> x) {
  return T(1) / sqrt(x);
}

}  // namespace ELMAN_ISA
}  // namespace elman

#endif  // ELMAN_FUNCTIONS_H_
