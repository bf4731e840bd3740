// The arithmetic of the core, compiled once an instruction set; everything above it is instruction-set free.
#pragma once

#include <cstdint>

#include "program.h"

namespace elman {

// target = start + A W^T for one tile of units. A row's result depends on that row alone, bit for bit: K is cut at multiples of kBlock,
// a fused multiply-add chain from the start inside the first block, from zero inside the others, blocks added in order.
template <class T>
struct Product {
  const T* a;         // left operand as [tile][row][tile width]
  int64_t a_tile;     // numbers from one of its tiles to the next
  int64_t a_row;      // its first row
  int a_step;         // rows from one row of the product to the next
  int k;              // its width, exact: what lies beyond in the last tile is not read
  const T* b;         // panel [k][b_row], of which the first w are used
  int b_row;
  int rows, w;        // w: a multiple of kPad, at most kTile
  const T* start;     // [row][w]; null: zero
  int64_t start_row;  // numbers from row to row, 0 for a vector
  bool add;           // target += instead, every block from zero
  T* c;               // target [row][w]
  int64_t c_row;
};

// What random numbers depend on beside their unit.
struct Chance { uint32_t row, time, stream, key[2]; };

template <class T>
struct Kernels {
  // Several products of the same rows and w, in order; those of one target lie one after the other.
  void (*product)(const Product<T>* products, int count);
  // c[m][w] += sum over k of a[k][m] b[k][w]; blocks of k as in Product. a: rows `a_row` apart, b: `w` apart, c: `w` apart.
  void (*outer)(const T* a, int64_t a_row, const T* b, int w, int64_t k, int m, T* c);
  // sum[w] += sum over k of a[k][w], blocks of k as in Product.
  void (*column_sum)(const T* a, int w, int64_t k, T* sum);
  // weight [row][columns] of `rows` rows -> panel [columns][w] (transposed), or rows as they lie -> panel [rows][w].
  void (*pack_transposed)(const T* weight, int columns, int rows, int w, T* panel);
  void (*pack)(const T* weight, int columns, int rows, int used, int w, T* panel);
  // d = op(a, b, c), `rows` rows of `n` numbers (a multiple of kPad); strides in numbers from row to row, 0 for a vector.
  using Pointwise = void (*)(T* d, int64_t ds, const T* a, int64_t as, const T* b, int64_t bs, const T* c, int64_t cs, int rows, int n);
  Pointwise pointwise[static_cast<int>(Op::count)];
  // Mean, sum or 1/sqrt(variance + eps) over the `width` units of each row of a, [tile][row][tile width]; for rows a_row,
  // a_row + step, ...; the results fill kPad numbers each, `step` times kPad apart.
  void (*reduce)(Reduction::Type type, const T* a, int64_t a_tile, int64_t a_row, int width, int rows, int step, double eps, T* out);
  // to[i] = hit or miss for `count` units of a tile from unit `first` on (multiples of kPad), by Philox4x32 with seven rounds
  // (J. Salmon et al., SC '11), as src/elman/engine/noise.py has it: a tile takes 16 counters, word k of counter l is for unit 16 k + l.
  void (*draw)(const Chance& at, int tile, int first, int count, const Noise& noise, T* to);
  // Multiply-adds of a resident tile, `times` times over; returns how many floating point operations that were.
  double (*exercise)(int64_t times);
};

namespace avx512 { template <class T> const Kernels<T>& kernels(); }
namespace avx2 { template <class T> const Kernels<T>& kernels(); }
namespace neon { template <class T> const Kernels<T>& kernels(); }
namespace generic { template <class T> const Kernels<T>& kernels(); }

template <class T> const Kernels<T>& kernels();  // of the instruction set in use

}  // namespace elman
