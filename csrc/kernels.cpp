// Compiled once an instruction set: -DELMAN_ISA=avx512 and so on, with that set's flags.
#include "kernels.h"

#include "functions.h"
#include "simd.h"

namespace elman {
namespace ELMAN_ISA {
namespace {

// Not std::min: the linker could keep another instruction set's copy of it.
template <class N>
[[gnu::always_inline]] constexpr N least(N a, N b) {
  return b < a ? b : a;
}

constexpr int kRows = 6;  // rows a tile of the product holds in registers
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kColumns = 4;  // and vectors: 32 registers
#else
constexpr int kColumns = 2;  // 16 registers
#endif

template <class T, int R, int V>
using Sums = Vec<T>[R][V];

// acc += a[r] b over n values of k, while `Lines` cache lines for each come nearer from `ahead` on: the panel that is next.
// Rows: a holds a row's k one after the other, rows `as` apart. Outer: k's are `as` apart, rows side by side.
template <class T, int R, int V, bool Outer, int Lines = 0>
[[gnu::always_inline]] inline void multiply(const T* a, int64_t as, const T* b, int64_t bs, int n, Sums<T, R, V>& acc,
                                            const T* ahead = nullptr) {
#pragma GCC unroll 4
  for (int k = 0; k < n; ++k) {
#pragma GCC unroll 4
    for (int i = 0; i < Lines; ++i) __builtin_prefetch(ahead + (k * Lines + i) * (64 / int{sizeof(T)}), 0, 2);
    Vec<T> column[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) column[v] = Vec<T>::load(b + k * bs + v * Vec<T>::lanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec<T> x = Vec<T>(Outer ? a[k * as + r] : a[r * as + k]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = fma(x, column[v], acc[r][v]);
    }
  }
}

// f(r, v) for r < R and v < V, unrolled: what is indexed by them stays in registers.
template <int R, int V, class F>
[[gnu::always_inline]] inline void each(F f) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) f(r, v);
}

template <class T, int R, int V>
[[gnu::always_inline]] inline void store(bool add, T* c, int64_t row, const Sums<T, R, V>& acc) {
  each<R, V>([&](int r, int v) {
    T* at = c + r * row + v * Vec<T>::lanes;
    (add ? Vec<T>::load(at) + acc[r][v] : acc[r][v]).store(at);
  });
}

// Rows [row, row + R), columns [column, column + V vectors), one block of K, for J products at once (one row alone is bound by latency).
template <class T, int R, int V, int J, int Lines>
void tile(const Product<T>* p, int row, int column, int block, const T* ahead) {
  Sums<T, R, V> acc[J] = {};
  const int from = block * kBlock, to = least(p[0].k, from + kBlock);
  each<J, 1>([&](int j, int) {
    if (block > 0 || p[j].add || !p[j].start) return;
    const T* start = p[j].start + row * p[j].start_row + column;
    each<R, V>([&](int r, int v) { acc[j][r][v] = Vec<T>::load(start + r * p[j].start_row + v * Vec<T>::lanes); });
  });
  const int last = padded(p[0].k) - (tiles(p[0].k) - 1) * kTile, w = p[0].b_row;
  for (int k = from; k < to; k += kTile) {
    const int n = least(kTile, to - k);
    const int64_t stride = int64_t{p[0].a_step} * (k / kTile == tiles(p[0].k) - 1 ? last : kTile);
    const T *a[J], *b[J];
    each<J, 1>([&](int j, int) {
      a[j] = p[j].a + k / kTile * p[j].a_tile + (p[j].a_row + row * p[j].a_step) * (stride / p[0].a_step);
      b[j] = p[j].b + int64_t{k} * w + column;
    });
    if constexpr (J == 1) {
      multiply<T, R, V, false, Lines>(a[0], stride, b[0], w, n, acc[0], ahead + (k - from) * (Lines * 64 / int{sizeof(T)}));
    } else {
#pragma GCC unroll 2
      for (int i = 0; i < n; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j) multiply<T, R, V, false>(a[j] + i, stride, b[j] + int64_t{i} * w, w, 1, acc[j]);
    }
  }
  each<J, 1>([&](int j, int) {
    store<T, R, V>(block > 0 || p[j].add, p[j].c + row * p[j].c_row + column, p[j].c_row, acc[j]);
  });
}

// Calls f<N>() for N = n, which is at most `Most`.
template <int Most, class F>
[[gnu::always_inline]] inline void with_constant(int n, F f) {
  if constexpr (Most > 1)
    if (n < Most) return with_constant<Most - 1>(n, f);
  f.template operator()<Most>();
}

// Calls f<V>(column) for the groups of V vectors that make up w numbers.
template <class T, class F>
[[gnu::always_inline]] inline void each_group(int w, F f) {
  constexpr int lanes = Vec<T>::lanes;
  for (int column = 0; column < w; column += kColumns * lanes)
    with_constant<kColumns>(least(kColumns, (w - column) / lanes), [&]<int V>() { f.template operator()<V>(column); });
}

// Calls f<R>(row, part) for parts of at most kRows rows, as equal as can be: no small one is left at the end.
template <class F>
[[gnu::always_inline]] inline void each_part(int rows, F f) {
  const int parts = (rows + kRows - 1) / kRows;
  for (int part = 0, row = 0; part < parts; ++part) {
    const int r = rows / parts + (part < rows % parts);
    with_constant<kRows>(r, [&]<int R>() { f.template operator()<R>(row, part); });
    row += r;
  }
}

// One block of products p[0..n) that have one row, side by side.
template <class T>
void multiply_row(const Product<T>* p, int n, int block) {
  each_group<T>(p->w, [&]<int V>(int column) {
    const auto of = n == 4 ? tile<T, 1, V, 4, 0> : n == 2 ? tile<T, 1, V, 2, 0> : tile<T, 1, V, 1, 0>;
    of(p, 0, column, block, nullptr);
  });
}

// One block of a product of several rows. While its panel is multiplied by all of them, the next one, which lies behind it, comes nearer:
// a part of it a tile.
template <class T>
void multiply_rows(const Product<T>& p, int block) {
  const T* ahead = p.b + int64_t{least(p.k, (block + 1) * kBlock)} * p.b_row;
  const int lines = p.rows <= 2 * kRows ? 2 : p.rows <= 4 * kRows ? 1 : 0, ahead_each = lines * kBlock * 64 / int{sizeof(T)};
  each_group<T>(p.w, [&]<int V>(int column) {
    each_part(p.rows, [&]<int R>(int row, int part) {
      constexpr int most = V == kColumns ? 2 : 0;  // lines: narrow groups leave that to the wide ones
      const auto of = lines >= 2 ? tile<T, R, V, 1, most> : lines == 1 ? tile<T, R, V, 1, most / 2> : tile<T, R, V, 1, 0>;
      of(&p, row, column, block, ahead + part * ahead_each);
    });
  });
}

// How many of the products go side by side: up to four of one K.
template <class T>
int side_by_side(const Product<T>* p, int count) {
  int n = 1;
  while (n < count && n < 4 && p[n].k == p[0].k) ++n;
  return n == 3 ? 2 : n;
}

template <class T>
void product(const Product<T>* p, int count) {
  for (int n; count > 0; p += n, count -= n) {
    n = side_by_side(p, count);  // also what decides in which order blocks are added, whatever the rows
    for (int block = 0; block * kBlock < p->k; ++block) {
      if (p->rows == 1) multiply_row(p, n, block);
      for (int j = 0; j < n && p->rows > 1; ++j) multiply_rows(p[j], block);
    }
  }
}

template <class T, int R, int V>
void outer_tile(const T* a, int64_t a_row, const T* b, int w, int n, T* c) {
  Sums<T, R, V> acc = {};
  multiply<T, R, V, true>(a, a_row, b, w, n, acc);
  store<T, R, V>(true, c, w, acc);
}

template <class T>
void outer(const T* a, int64_t a_row, const T* b, int w, int64_t k, int m, T* c) {
  for (int64_t from = 0; from < k; from += kBlock) {
    const int n = static_cast<int>(least(int64_t{kBlock}, k - from));
    each_group<T>(w, [&]<int V>(int column) {
      each_part(m, [&]<int R>(int row, int) {
        outer_tile<T, R, V>(a + from * a_row + row, a_row, b + from * w + column, w, n, c + int64_t{row} * w + column);
      });
    });
  }
}

template <class T>
void column_sum(const T* a, int w, int64_t k, T* sum) {
  for (int64_t from = 0; from < k; from += kBlock) {
    const int64_t to = least(k, from + int64_t{kBlock});
    for (int column = 0; column < w; column += Vec<T>::lanes) {
      Vec<T> acc = Vec<T>::load(a + from * w + column);
      for (int64_t i = from + 1; i < to; ++i) acc = acc + Vec<T>::load(a + i * w + column);
      (Vec<T>::load(sum + column) + acc).store(sum + column);
    }
  }
}

// x[i] lane j <-> x[j] lane i: squares of half the size change places, then halves of those.
template <class T>
[[gnu::always_inline]] inline void transpose(Vec<T> (&x)[Vec<T>::lanes]) {
  constexpr int n = Vec<T>::lanes;
#pragma GCC unroll 4
  for (int half = n / 2; half > 0; half /= 2) {
    typename Format<T>::Signed low{}, high{};  // lanes of two vectors side by side, counted through
#pragma GCC unroll 16
    for (int j = 0; j < n; ++j) {
      low[j] = j & half ? n + j - half : j;
      high[j] = j & half ? n + j : j + half;
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i)
      if (!(i & half)) {
        const auto a = x[i].v, b = x[i + half].v;
        x[i] = __builtin_shuffle(a, b, low);
        x[i + half] = __builtin_shuffle(a, b, high);
      }
  }
}

template <class T>
void pack_transposed(const T* weight, int columns, int rows, int w, T* panel) {
  constexpr int n = Vec<T>::lanes;
  for (int u = 0; u < w; u += n) {
    int k = 0;
    if (u + n <= rows)
      for (; k + n <= columns; k += n) {
        Vec<T> x[n];
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) x[i] = Vec<T>::loadu(weight + int64_t{u + i} * columns + k);
        transpose<T>(x);
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) x[i].store(panel + int64_t{k + i} * w + u);
      }
    for (; k < columns; ++k)
      for (int i = u; i < u + n; ++i) panel[int64_t{k} * w + i] = i < rows ? weight[int64_t{i} * columns + k] : T{0};
  }
}

template <class T>
void pack(const T* weight, int columns, int rows, int used, int w, T* panel) {
  for (int k = 0; k < rows; ++k) {
    T* to = panel + int64_t{k} * w;
    __builtin_memcpy(to, weight + int64_t{k} * columns, used * sizeof(T));
    for (int i = used; i < w; ++i) to[i] = 0;
  }
}

template <Op op, class V>
ELMAN_INLINE V operation(V x, [[maybe_unused]] V y, [[maybe_unused]] V z) {
  [[maybe_unused]] const V one = 1;
#define ELMAN_RETURN_IF(NAME, MEANING) \
  if constexpr (op == Op::NAME) return MEANING;
  ELMAN_OPERATIONS(ELMAN_RETURN_IF)
#undef ELMAN_RETURN_IF
}

template <class T, Op op>
void pointwise(T* d, int64_t ds, const T* a, int64_t as, const T* b, int64_t bs, const T* c, int64_t cs, int rows, int n) {
  for (int r = 0; r < rows; ++r, d += ds, a += as, b += bs, c += cs) {
    // Operands are the target or apart from it, and an element is read before it is written.
#pragma GCC ivdep
#pragma GCC unroll 4
    for (int i = 0; i < n; i += Vec<T>::lanes)
      operation<op>(Vec<T>::load(a + i), Vec<T>::load(b + i), Vec<T>::load(c + i)).store(d + i);
  }
}

template <class T>
void spread(T* d, int64_t ds, const T* a, int64_t as, const T*, int64_t, const T*, int64_t, int rows, int n) {
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < n; i += Vec<T>::lanes) Vec<T>(a[r * as]).store(d + r * ds + i);
}

// Sum over tiles, in order, of the sum over the units of each: f(value) of the exact width, what lies beyond is not looked at.
template <class T, class F>
T sum_units(const T* a, int64_t a_tile, int64_t row, int width, F f) {
  constexpr int lanes = Vec<T>::lanes, parts = Vec<T>::per16;
  T total = 0;
  for (int tile = 0; tile < tiles(width); ++tile) {
    const T* from = a + tile * a_tile + row * tile_width(width, tile);
    const int n = least(kTile, width - tile * kTile);
    Vec<T> sum[parts] = {};
    for (int i = 0; i < n; i += kPad) {
      alignas(64) T last[kPad] = {};
      const bool whole = i + kPad <= n;
      for (int j = i; !whole && j < n; ++j) last[j - i] = f(from[j]);
      for (int v = 0; v < parts; ++v) sum[v] += whole ? f(Vec<T>::load(from + i + v * lanes)) : Vec<T>::load(last + v * lanes);
    }
    total += sum16<T>(sum);
  }
  return total;
}

template <class T>
void reduce(Reduction::Type type, const T* a, int64_t a_tile, int64_t a_row, int width, int rows, int step, double eps, T* out) {
  for (int r = 0; r < rows; ++r, out += step * kPad) {
    const int64_t row = a_row + int64_t{r} * step;
    T value = sum_units(a, a_tile, row, width, [](auto v) { return v; });
    if (type != Reduction::Type::sum) value /= static_cast<T>(width);
    if (type == Reduction::Type::rstd) {
      const T mean = value;
      value = sum_units(a, a_tile, row, width, [mean](auto v) { return (v - mean) * (v - mean); }) / static_cast<T>(width);
      value = 1 / __builtin_sqrt(value + static_cast<T>(eps));
    }
    for (int i = 0; i < kPad; ++i) out[i] = value;
  }
}

template <class T>
void draw(const Chance& at, int tile, int first, int count, const Noise& noise, T* to) {
  uint32_t c[4][kPad], key0 = at.key[0], key1 = at.key[1];
  for (int l = 0; l < kPad; ++l) {
    c[0][l] = static_cast<uint32_t>(tile * kPad + l);
    c[1][l] = at.row;
    c[2][l] = at.time;
    c[3][l] = at.stream;
  }
  for (int round = 0; round < 7; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u)
    for (int l = 0; l < kPad; ++l) {
      const uint64_t p = uint64_t{0xD2511F53u} * c[0][l], q = uint64_t{0xCD9E8D57u} * c[2][l];
      c[0][l] = static_cast<uint32_t>(q >> 32) ^ c[1][l] ^ key0;
      c[1][l] = static_cast<uint32_t>(q);
      c[2][l] = static_cast<uint32_t>(p >> 32) ^ c[3][l] ^ key1;
      c[3][l] = static_cast<uint32_t>(p);
    }
  const T hit = static_cast<T>(noise.hit), miss = static_cast<T>(noise.miss);
  for (int i = 0; i < count; i += kPad)
    for (int l = 0; l < kPad; ++l) to[i + l] = c[(first + i) / kPad][l] < noise.threshold ? hit : miss;
}

template <class T>
double exercise(int64_t times) {
  constexpr int w = kColumns * Vec<T>::lanes;
  alignas(64) static thread_local T a[kRows * kTile], b[kTile * w], c[kRows * w];
  Sums<T, kRows, kColumns> acc = {};
  for (int64_t i = 0; i < times; ++i) multiply<T, kRows, kColumns, false>(a, kTile, b, w, kTile, acc);
  store<T, kRows, kColumns>(true, c, w, acc);
  return 2.0 * times * kRows * kTile * w;
}

template <class T>
constexpr Kernels<T> table() {
  Kernels<T> k{.product = product<T>, .outer = outer<T>, .column_sum = column_sum<T>, .pack_transposed = pack_transposed<T>,
               .pack = pack<T>, .pointwise = {}, .reduce = reduce<T>, .draw = draw<T>, .exercise = exercise<T>};
#define ELMAN_SET(NAME, MEANING) k.pointwise[static_cast<int>(Op::NAME)] = pointwise<T, Op::NAME>;
  ELMAN_OPERATIONS(ELMAN_SET)
#undef ELMAN_SET
  k.pointwise[static_cast<int>(Op::spread)] = spread<T>;
  return k;
}

}  // namespace

template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> all = table<T>();
  return all;
}
template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

}  // namespace ELMAN_ISA
}  // namespace elman
