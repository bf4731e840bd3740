// The step program as the core holds it: what docs/design/engine.md calls the text, parsed and grouped into passes.
#pragma once

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

namespace elman {

constexpr int kTile = 64;    // units a tile; the last tile of a width is as wide as its units, rounded up to kPad
constexpr int kPad = 16;     // every row of every tile is a multiple of this many numbers
constexpr int kBlock = 128;  // a sum over K is cut at multiples of this

// Always inlined: also used where code of one instruction set is made, which the linker must not merge with another's.
[[gnu::always_inline]] inline int padded(int width) { return (width + kPad - 1) / kPad * kPad; }
[[gnu::always_inline]] inline int tiles(int width) { return (width + kTile - 1) / kTile; }
// Numbers in a row of tile `tile` of a value `width` wide.
[[gnu::always_inline]] inline int tile_width(int width, int tile) {
  const int left = padded(width) - tile * kTile;
  return left < kTile ? left : kTile;
}

// The pointwise operations: the name in the text, and what it makes of operands x, y, z (kernels.cpp gives the words their meaning).
#define ELMAN_OPERATIONS(OP)                                                                               \
  OP(add, x + y) OP(sub, x - y) OP(mul, x * y) OP(div, x / y) OP(neg, -x) OP(fma, fma(x, y, z)) OP(fnma, fnma(x, y, z)) \
  OP(exp, exp(x)) OP(log, log(x)) OP(sqrt, sqrt(x)) OP(rsqrt, rsqrt(x)) OP(sigmoid, sigmoid(x)) OP(tanh, tanh(x))       \
  OP(relu, relu(x)) OP(softplus, softplus(x)) OP(abs, abs(x)) OP(max, max(x, y)) OP(min, min(x, y))                     \
  OP(lt, keep(x < y, one)) OP(le, keep(x <= y, one)) OP(eq, keep(x == y, one)) OP(where, select(x == 0, z, y))          \
  OP(normal, (x - y) * z) OP(copy, x)

#define ELMAN_NAME(NAME, MEANING) NAME,
enum class Op : uint8_t { ELMAN_OPERATIONS(ELMAN_NAME) spread, count };  // spread: one number to all units
#undef ELMAN_NAME

// In the order of their names in program.cpp.
enum class Kind : uint8_t { raw, state, vector, constant, input, local, wide, gradient, saved, after, noise };

struct Slot {
  Kind kind;
  int index = 0;  // of the state, parameter, kept array, noise; gradient: the state, -1 for the output, -2 - j for tap j
  int row = 0;    // vector: its first row in the parameter
  int width = 1;
  double value = 0;           // constant
  bool whole = false;         // a product or a reduction reads all its units
  bool made = false;          // by the step; else it is a leaf
  int phase = -1, pass = -1;  // where it is made, or copied, when it is a leaf among the results

  // An array over positions holds it anyway.
  bool kept() const { return kind == Kind::state || kind == Kind::after || kind == Kind::saved || kind == Kind::raw; }
};

struct Param { std::string name; int rows, columns; };
struct State { std::string name; int width; double initial; };
struct Noise { bool once; uint32_t threshold; double hit, miss; };  // once a sequence; a word below the threshold is a hit
struct Line { Op op; int target, from[3]; };  // from: a second and third operand that are not there are the first

// Some rows of a matrix, from `row` on. product: they make the slot; product_t: the slot multiplies them.
struct Gate { int row, slot; std::vector<int> start; };

// A weight matrix packed into panels [tile][part][K of the part][tile width].
// Forward: the parts are the gates, K = columns. Backward: the parts are the sources, K = their widths; tiles run over the columns.
struct Matrix {
  int param;
  bool transposed;  // backward
  bool input;       // multiplies x, or gradients to give those of x
  int width;        // of a target
  std::vector<int> rows{}, depths{};  // first row and K of each part
  int64_t depth() const { return std::accumulate(depths.begin(), depths.end(), int64_t{0}); }
  int64_t size() const { return depth() * padded(width); }
};

// For many steps at once. Forward: slot = start + x W^T. Backward: the gradient of x += slot W.
struct InputProduct { int slot, matrix; std::vector<int> start; };

struct Piece {
  enum class Type : uint8_t { product, product_t, strip } type;
  int operand = -1;          // product: the source; product_t: the target
  int matrix = -1;           // what a product reads
  std::vector<Gate> gates{};  // of a product
  std::vector<Line> lines{};  // of a strip
};

struct Pass { int width; std::vector<Piece> pieces; std::vector<int> slots; };  // slots: those it touches
struct Reduction { enum class Type : uint8_t { mean, sum, rstd } type; int source, target; double eps; };
struct Phase { bool whole = false; std::vector<Reduction> reductions; std::vector<Pass> passes; };

struct Out {
  enum class Type : uint8_t { state, y, keep, tap, carry, gate, raw, vector } type;
  int index = -1;    // state, kept array or tap (backward: the gradient of a state); gate, vector: the parameter
  int row = 0;       // gate, vector
  int slot = -1;
  int operand = -1;  // gate: a slot, -1 for x
};

struct Program {
  bool backward = false;
  std::vector<Param> params;
  std::vector<State> states;
  std::vector<Noise> noises;
  std::vector<Slot> slots;
  std::vector<std::vector<InputProduct>> input_products;  // in groups: of one width, none reads what another makes
  std::vector<Phase> phases;
  std::vector<Out> outs;
  std::vector<Matrix> matrices;
  int output = 0;               // width of y, 0 when the program has none
  bool narrow_outputs = false;  // a width-1 value leaves the step beside wider ones: units cannot be split over threads
  std::vector<int> kept;        // widths of the kept arrays
};

// Throws std::invalid_argument naming the line that is not understood.
Program parse(const std::string& text);

}  // namespace elman
