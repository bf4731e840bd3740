#include "layout.h"

#include <algorithm>

namespace elman {

int64_t chunk_steps(const Program& forward, const Inputs& in) {
  int64_t numbers = padded(in.inputs);
  for (const Matrix& m : forward.matrices)
    if (!m.input) numbers += static_cast<int64_t>(m.rows.size()) * padded(m.width);
  const int64_t positions = std::clamp<int64_t>((int64_t{1} << 19) / numbers, 2 * kBlock, 2048);
  return std::max<int64_t>(1, positions / std::max<int64_t>(in.rows, 1));
}

int64_t state_numbers(const Program& program) {
  int64_t n = 0;
  for (const State& s : program.states) n += padded(s.width);
  return n;
}

int64_t kept_numbers(const Program& forward, const Inputs& in, int64_t positions) {
  int64_t n = state_numbers(forward) * (shifted(in) ? positions + in.rows : 2 * positions);
  for (int width : forward.kept) n += padded(width) * positions;
  return n;
}

Reserve plan_reserve(const Program& forward, const Inputs& in, int64_t item_bytes, int64_t budget_bytes) {
  const int64_t all = kept_numbers(forward, in, in.rows * in.steps);
  if (all * item_bytes <= budget_bytes) return {all, 0};
  const int64_t border = state_numbers(forward) * in.rows, chunk = chunk_steps(forward, in);
  const auto borders = [&](int64_t steps) { return (in.steps + steps - 1) / steps * border; };
  const auto need = [&](int64_t steps) { return borders(steps) + kept_numbers(forward, in, in.rows * std::min(steps, in.steps)); };
  int64_t best = chunk;  // as little memory as can be: the borders of the segments and one segment
  for (int64_t steps = chunk; steps < in.steps; steps *= 2)
    if (need(steps) < need(best)) best = steps;
  return {borders(best), best};
}

int64_t packed_numbers(const Program& program) {
  int64_t n = 0;
  for (const Matrix& m : program.matrices) n += m.size();
  return n;
}

}  // namespace elman
