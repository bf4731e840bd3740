// Where the numbers of a run lie: arrays of tiles, what of them a step or a thread means, and how many are kept.
#pragma once

#include "program.h"
#include "sequence.h"

namespace elman {

// [tile][row][tile width]; tile t starts at t * kTile * rows.
template <class T>
struct Array {
  T* data = nullptr;
  int64_t rows = 0;
  static int64_t numbers(int width, int64_t rows) { return padded(width) * rows; }
  int64_t tile() const { return kTile * rows; }
  T* at(int t, int64_t row, int w) const { return data + t * tile() + row * w; }
};

enum class How : uint8_t {
  none,
  local,       // of the block at hand, in the thread's scratch memory
  vector,      // the same for all rows
  by_row,      // one value a row, perhaps in two copies that steps use in turn
  by_chunk,    // one value a position of the chunk
  by_segment,  // one value a position of the segment
};

// Where the numbers of a slot lie.
template <class T>
struct Place {
  How how = How::none;
  Array<T> array{};    // local: rows is the number of the local; vector: 0 where one tile does for all
  int64_t shift = 0;   // by_segment: rows between a position and its row
  int64_t parity = 0;  // by_row: numbers between the two copies, 0 when there is one
  int flip = 0;        // by_row: the copy that even steps use

  T* copy(int64_t p) const { return array.data + ((p + flip) & 1) * parity; }  // the array that step p uses
  Place flipped() const {
    Place other = *this;
    other.flip = 1;
    return other;
  }
};

// Units of a value: of one tile, from `first` on, `count` of them (a multiple of kPad), `used` of which exist.
struct Part {
  int tile, wide, first, count, used;
  int unit() const { return tile * kTile + first; }
};

inline int used(int width, int tile) { return width - tile * kTile < kTile ? width - tile * kTile : kTile; }

inline int64_t share(int64_t n, int index, int size) { return n * index / size; }

// Without lengths and resets the states before step p + 1 are those after step p; else both are kept.
inline bool shifted(const Inputs& in) { return !in.lengths && !in.resets; }

// Steps a chunk: its gates stay in the outer caches and its products have enough rows. By shapes alone: sums over positions are cut here.
int64_t chunk_steps(const Program& forward, const Inputs& in);
// The numbers of all states of a row, padded.
int64_t state_numbers(const Program& program);
// What a run keeps of so many positions for its backward run.
int64_t kept_numbers(const Program& forward, const Inputs& in, int64_t positions);

}  // namespace elman
