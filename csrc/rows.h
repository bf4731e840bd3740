#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "sequence.h"

namespace elman {

// Which rows run when. Rows are taken longest first, so that those still running at step p are the first active(p); a reversed run
// starts each row at its own end. Positions number the pairs (p, row) that exist, step by step. A part of the rows can be run as if there
// were no others; of ragged rows every `parts`-th, which gives each part about the same number of steps.
class Rows {
 public:
  explicit Rows(const Inputs& in, int part = 0, int parts = 1)
      : rows(in.rows), longest(in.steps), first_(in.rows * part / parts), reverse_(in.reverse), steps_(in.steps) {
    rows = in.rows * (part + 1) / parts - first_;
    positions = rows * longest;
    if (!in.lengths) return;
    std::vector<int> all(in.rows);
    std::iota(all.begin(), all.end(), 0);
    std::stable_sort(all.begin(), all.end(), [&](int a, int b) { return in.lengths[a] > in.lengths[b]; });
    for (int64_t r = part; r < in.rows; r += parts) order_.push_back(all[r]);
    rows = static_cast<int64_t>(order_.size());
    lengths_.resize(rows);
    for (int64_t r = 0; r < rows; ++r) lengths_[r] = in.lengths[order_[r]];
    longest = rows ? lengths_[0] : 0;
    offsets_.resize(longest + 1);
    for (int64_t p = 0, n = rows; p < longest; ++p) {
      while (lengths_[n - 1] <= p) --n;
      offsets_[p + 1] = offsets_[p] + n;
    }
    positions = offsets_[longest];
  }

  bool ragged() const { return !order_.empty(); }
  int64_t offset(int64_t p) const { return ragged() ? offsets_[p] : p * rows; }
  int64_t active(int64_t p) const { return p >= longest ? 0 : ragged() ? offsets_[p + 1] - offsets_[p] : rows; }
  int64_t source(int64_t row) const { return ragged() ? order_[row] : first_ + row; }
  int64_t length(int64_t row) const { return ragged() ? lengths_[row] : steps_; }
  int64_t time(int64_t row, int64_t p) const { return reverse_ ? length(row) - 1 - p : p; }
  // The row of a position; p, any step not beyond its own, becomes its step.
  int64_t row_at(int64_t position, int64_t& p) const {
    while (position >= offset(p + 1)) ++p;
    return position - offset(p);
  }
  // Does a reset fall between step p - 1 and step p of this row?
  bool reset(const uint8_t* resets, int64_t row, int64_t p) const {
    const int64_t at = reverse_ ? length(row) - p : p;
    return at < length(row) && resets[source(row) * steps_ + at];
  }
  int64_t rows, longest, positions = 0;

 private:
  int64_t first_;
  bool reverse_;
  int64_t steps_;
  std::vector<int> order_;
  std::vector<int64_t> lengths_, offsets_;
};

}  // namespace elman
