// The step program as the core holds it: what docs/design/engine.md calls the text, parsed and grouped into passes.
#pragma once

#include <cstdint>
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

enum class Op : uint8_t {
  add, sub, mul, div, neg, fma, fnma, exp, log, sqrt, rsqrt, sigmoid, tanh, relu, softplus, abs, max, min,
  lt, le, eq, where, normal, copy, spread, count
};

enum class Kind : uint8_t { raw, state, vector, constant, input, local, wide, gradient, saved, after };

struct Slot {
  Kind kind;
  int index = 0;  // of the state, parameter, kept array; gradient: the state, -1 for the output
  int row = 0;    // vector: its first row in the parameter
  int width = 1;
  double value = 0;  // constant
};

struct Param { std::string name; int rows, columns; };
struct State { std::string name; int width; double initial; };
struct Line { Op op; int target, a = -1, b = -1, c = -1; };
struct Gate { int row, target; std::vector<int> start; };
struct From { int row, source; };

// `before`: an input slot, for many steps at once: start + x W^T.
struct Before { int param, row, target; std::vector<int> start; };

struct Piece {
  enum class Type : uint8_t { product, product_t, strip } type;
  int param = -1;
  int operand = -1;         // product: the source; product_t: the target
  int packed = -1;          // which packed matrix of the program this product reads
  std::vector<Gate> gates{};  // product
  std::vector<From> froms{};  // product_t
  std::vector<Line> lines{};  // strip
};

struct Pass { int width; std::vector<Piece> pieces; std::vector<int> slots; };  // slots: those it touches
struct Reduction { enum class Type : uint8_t { mean, sum, rstd } type; int source, target; double eps; };
struct Phase { bool whole = false; std::vector<Reduction> reductions; std::vector<Pass> passes; };

struct Out {
  enum class Type : uint8_t { state, y, keep, tap, carry, gate, raw, vector } type;
  int index = -1;    // state, kept array or tap; gate, vector: the parameter
  int row = 0;       // gate, vector
  int slot = -1;
  int operand = -1;  // gate: a slot, -1 for x
};

// A weight matrix packed into panels [tile][part][K of the part][tile width].
// Forward: the parts are the gates, K = columns. Backward: the parts are the sources, K = their widths; tiles run over the columns.
struct Matrix {
  int param;
  bool transposed;  // backward
  int width;        // of a target
  std::vector<int> rows, depths;  // first row and K of each part
  int64_t size() const {
    int64_t k = 0;
    for (int d : depths) k += d;
    return k * padded(width);
  }
};

struct Program {
  bool backward = false;
  std::vector<Param> params;
  std::vector<State> states;
  std::vector<Slot> slots;
  std::vector<Before> before;
  std::vector<Phase> phases;
  std::vector<Out> outs;
  std::vector<Matrix> matrices;
  int inputs = 0;              // width of x
  int output = 0;              // width of y, 0 when the program has none
  bool any_product = false;    // some phase reads an operand whole: units split over threads meet at barriers
  bool narrow_outputs = false; // a width-1 value leaves the step beside wider ones: units cannot be split over threads
  std::vector<int> kept;       // widths of the kept arrays
};

// Throws std::invalid_argument naming the line that is not understood.
Program parse(const std::string& text);

}  // namespace elman
