#include "sequence.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "arena.h"
#include "kernels.h"
#include "rows.h"
#include "threads.h"

namespace elman {
namespace {

const std::vector<std::string>& sets() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> found;
#if defined(ELMAN_HAVE_AVX512)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
      found.emplace_back("avx512");
#endif
#if defined(ELMAN_HAVE_AVX2)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.emplace_back("avx2");
#endif
#if defined(ELMAN_HAVE_NEON)
    found.emplace_back("neon");
#endif
    found.emplace_back("generic");
    return found;
  }();
  return all;
}

std::string& chosen() {
  static std::string name = sets().front();
  return name;
}

template <class T>
const Kernels<T>& kernels() {
#if defined(ELMAN_HAVE_AVX512)
  if (chosen() == "avx512") return avx512::kernels<T>();
#endif
#if defined(ELMAN_HAVE_AVX2)
  if (chosen() == "avx2") return avx2::kernels<T>();
#endif
#if defined(ELMAN_HAVE_NEON)
  if (chosen() == "neon") return neon::kernels<T>();
#endif
  return generic::kernels<T>();
}

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
  Array<T> array{};    // local: rows is the number of the local
  int64_t shift = 0;   // by_segment: rows between a position and its row
  int64_t parity = 0;  // by_row: numbers between the two copies, 0 when there is one
  int flip = 0;        // by_row: the copy that even steps use
};

int64_t share(int64_t n, int index, int size) { return n * index / size; }

// Steps a chunk: its gates stay in the outer caches and its products have enough rows. By shapes alone: sums over positions are cut here.
int64_t chunk_steps(const Program& forward, const Inputs& in) {
  int64_t numbers = padded(in.inputs);
  for (const Matrix& m : forward.matrices) numbers += static_cast<int64_t>(m.rows.size()) * padded(m.width);
  const int64_t positions = std::clamp<int64_t>((int64_t{1} << 19) / numbers, 2 * kBlock, 2048);
  return std::max<int64_t>(1, positions / std::max<int64_t>(in.rows, 1));
}

int64_t state_numbers(const Program& p) {
  int64_t n = 0;
  for (const State& s : p.states) n += padded(s.width);
  return n;
}

// Without lengths and resets the states before step p + 1 are those after step p; else both are kept.
bool shifted(const Inputs& in) { return !in.lengths && !in.resets; }

int64_t kept_numbers(const Program& forward, const Inputs& in, int64_t positions) {
  int64_t n = state_numbers(forward) * (shifted(in) ? positions + in.rows : 2 * positions);
  for (int width : forward.kept) n += padded(width) * positions;
  return n;
}

}  // namespace

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

namespace {

// One call: arrays that its threads share, and what each thread does.
template <class T>
class Run {
 public:
  Run(const Program& forward, const Program* backward, const Inputs& in, const Outputs* out, const Gradients* gradients,
      const Reserve& plan, T* reserve, int part = 0, int parts = 1)
      : forward_(forward), backward_(backward), in_(in), out_(out), gradients_(gradients), plan_(plan), reserve_(reserve),
        rows_(in, part, parts), k_(kernels<T>()), chunk_(chunk_steps(forward, in)) {
    segment_ = std::max<int64_t>(plan.segment ? plan.segment : rows_.longest, 1);
    keep_ = backward || (reserve && !plan.segment);
  }

  void go(int threads) {
    threads = work() < 4e6 ? 1 : std::min(threads, kMostThreads);  // a region costs some microseconds
    split(threads);
    if (split_ == Split::nothing && work() < 1e8) threads = 1;  // what is left to share out is worth no region
    pack_space(first_, forward_);
    team_.resize(threads);
    if (split_ == Split::rows && threads > 1 && apart()) {
      for (int i = 0; i < threads; ++i) {
        parts_.push_back(std::make_unique<Run>(forward_, nullptr, in_, out_, nullptr, plan_, nullptr, i, threads));
        parts_[i]->first_.matrices = first_.matrices;
        parts_[i]->first_.inputs = first_.inputs;
        parts_[i]->team_.resize(1);
        parts_[i]->bind_forward();
        parts_[i]->make_worker(parts_[i]->team_[0], 0);
        team_[i].index = i;
      }
      parallel(threads, [](void* run, int index, int size) { static_cast<Run*>(run)->run_parts(index, size); }, this);
      return;
    }
    bind_forward();
    if (backward_) bind_backward();
    for (int i = 0; i < threads; ++i) make_worker(team_[i], i);
    parallel(threads, [](void* run, int index, int size) { static_cast<Run*>(run)->thread(index, size); }, this);
  }

 private:
  struct Store {  // a result that is copied from its slot when its tile is done
    int slot;
    Place<T> place;
    bool output;  // instead: to y
  };
  struct Bound {  // a pass and the results that are copied when it is done; without work where those are leaves
    const Pass* pass;
    int width;
    std::vector<Store> stores;
  };
  struct Stage {  // a program bound to memory
    const Program* program = nullptr;
    std::vector<Place<T>> places;                // by slot
    std::vector<std::vector<Bound>> passes;      // by phase
    std::vector<T*> matrices, inputs;            // packed weights: by matrix, by input product
    int locals = 0;
  };
  struct Frame {  // the slots of a pass, for the block at hand
    std::vector<T*> pointers;                    // by slot
    std::vector<int64_t> strides;                // numbers from row to row
    std::vector<int> fixed, moving;              // slots that are the same at every step, and the others
    int64_t where = -1;                          // the tile and part of it for which `fixed` are resolved
  };
  struct Part {  // units of a value: of one tile, from `first` on, `count` of them (a multiple of kPad), `used` of which exist
    int tile, wide, first, count, used;
  };
  struct Worker {
    int index = 0, size = 1;
    T* scratch = nullptr;                        // locals: [local][row of the block][kTile]
    T* vectors = nullptr;                        // [kVectors][kTile]
    int64_t chunk_origin = 0, segment_origin = 0;
    std::vector<Place<T>> places[2];             // by stage and slot
    std::vector<std::vector<Frame>> frames[2];   // by stage, phase and pass
    std::vector<Product<T>> products;
  };
  struct Weight {  // the gradient of some rows of a matrix: [tile of columns][row][tile width]
    const Out* out;
    Place<T> operand;
    T* sum;
    int rows, columns;
  };
  struct Column {  // a gradient that is a sum over positions
    Place<T> place;
    int width;
    T* sum;
  };
  static constexpr int kVectors = 8;     // gates of a product whose starts may be sums of vectors at a time
  static constexpr int kBlockRows = 24;  // a block: rows of one tile that a pass works on at a time

  double work() const {
    double flops = 0;
    for (const Matrix& m : forward_.matrices)
      flops += 2.0 * static_cast<double>(m.rows.size()) * m.width * m.depths[0] * static_cast<double>(rows_.positions);
    for (const Before& b : forward_.before)
      flops += 2.0 * forward_.slots[b.target].width * in_.inputs * static_cast<double>(rows_.positions);
    return flops;
  }

  // What the threads share out in the time loop: rows, which need no barrier, or the units of few rows. A barrier costs about what a core
  // multiplies in half a microsecond: a step must be worth several.
  void split(int threads) {
    int widest = 1;
    double weights = 0, barriers = 1;
    for (const Slot& s : forward_.slots) widest = std::max(widest, s.kind == Kind::raw ? 1 : s.width);
    for (const Matrix& m : forward_.matrices) weights += static_cast<double>(m.size());
    for (const Phase& p : forward_.phases) barriers += p.whole;
    const bool narrow = forward_.narrow_outputs || (backward_ && backward_->narrow_outputs);
    const bool units = widest >= 2 * kPad * threads && !narrow && weights * std::max<double>(2 * in_.rows, 4) > 75e3 * barriers;
    const bool near = weights * sizeof(T) < 1.2e6;  // every thread can have all of them in its own cache
    const int least = !units ? 1 : near && apart() ? 4 : 6;
    if (threads == 1 || rows_.rows >= least * int64_t{threads}) {
      split_ = Split::rows;
    } else {
      split_ = units ? Split::units : Split::nothing;
    }
  }

  // A run whose threads, when they share out rows, need nothing of each other: no cache line has two writers.
  bool apart() const { return !backward_ && !reserve_; }

  // ---- binding programs to memory

  Array<T> array(int width, int64_t rows) { return {arena_.take<T>(Array<T>::numbers(width, rows)), rows}; }

  Place<T> in_turn(int width) {
    const int64_t one = Array<T>::numbers(width, rows_.rows);
    return {.how = How::by_row, .array = {arena_.take<T>(2 * one), rows_.rows}, .parity = one};
  }

  static Place<T> flipped(Place<T> place) {
    place.flip = 1;
    return place;
  }

  void bind_forward() {
    const Program& p = forward_;
    if (keep_) {
      const int64_t positions = in_.rows * std::min(segment_, in_.steps), more = shifted(in_) ? in_.rows : 0;
      T* cursor = plan_.segment ? arena_.take<T>(kept_numbers(p, in_, positions)) : reserve_;
      const auto next = [&](int width, int64_t rows) {
        const Array<T> a{cursor, rows};
        cursor += Array<T>::numbers(width, rows);
        return Place<T>{.how = How::by_segment, .array = a};
      };
      for (const State& s : p.states) {
        before_.push_back(next(s.width, positions + more));
        after_.push_back(more ? before_.back() : next(s.width, positions));
        after_.back().shift = more;
      }
      for (int width : p.kept) kept_.push_back(next(width, positions));
    } else {
      for (const State& s : p.states) {
        before_.push_back(in_turn(s.width));
        after_.push_back(flipped(before_.back()));
      }
    }
    for (size_t k = 0; k < p.states.size(); ++k) fresh_.push_back(fresh(k));
    chunk_rows_ = rows_.rows * std::min(chunk_, std::max<int64_t>(rows_.longest, 1));
    x_ = {.how = How::by_chunk, .array = array(in_.inputs, chunk_rows_)};
    bind(first_, p);
    for (const Before& b : p.before)
      first_.places[b.target] = {.how = How::by_chunk, .array = array(p.slots[b.target].width, chunk_rows_)};
    results(first_);
  }

  // What a reset puts in place of state k, padded.
  const T* fresh(size_t k) {
    const State& s = forward_.states[k];
    T* v = arena_.take<T>(padded(s.width));
    std::fill(v, v + padded(s.width), static_cast<T>(s.initial));
    if (k < in_.fresh.size() && in_.fresh[k]) std::memcpy(v, in_.fresh[k], s.width * sizeof(T));
    return v;
  }

  void bind(Stage& stage, const Program& program) {
    stage.program = &program;
    for (const Slot& s : program.slots) {
      switch (s.kind) {
        case Kind::raw: stage.places.push_back(x_); break;
        case Kind::state: stage.places.push_back(before_[s.index]); break;
        case Kind::after: stage.places.push_back(after_[s.index]); break;
        case Kind::saved: stage.places.push_back(kept_[s.index]); break;
        case Kind::vector: stage.places.push_back(vector(s)); break;
        case Kind::constant: stage.places.push_back(constant(static_cast<T>(s.value))); break;
        case Kind::wide: stage.places.push_back(in_turn(s.width)); break;
        case Kind::input: stage.places.emplace_back(); break;
        case Kind::gradient:
          if (s.index >= 0 || read_whole(program, static_cast<int>(stage.places.size()))) {
            stage.places.push_back(s.index >= 0 ? carry_[s.index] : in_turn(s.width));
            break;
          }
          [[fallthrough]];
        case Kind::local: stage.places.push_back({.how = How::local, .array = {nullptr, stage.locals++}}); break;
      }
    }
    for (const Phase& phase : program.phases) {
      stage.passes.emplace_back();
      for (const Pass& pass : phase.passes) stage.passes.back().push_back({&pass, pass.width, {}});
    }
  }

  static bool read_whole(const Program& program, int slot) {
    for (const Phase& phase : program.phases) {
      for (const Reduction& r : phase.reductions)
        if (r.source == slot) return true;
      for (const Pass& pass : phase.passes)
        for (const Piece& piece : pass.pieces)
          if (std::any_of(piece.froms.begin(), piece.froms.end(), [slot](const From& f) { return f.source == slot; })) return true;
    }
    return false;
  }

  Place<T> vector(const Slot& s) {
    const T* from = static_cast<const T*>(in_.params[s.index]) + s.row;
    if (s.width == 1) return constant(*from);
    T* v = arena_.take<T>(padded(s.width));
    std::memcpy(v, from, s.width * sizeof(T));
    std::fill(v + s.width, v + padded(s.width), T{0});
    return {.how = How::vector, .array = {v, 1}};
  }

  Place<T> constant(T value) {
    T* v = arena_.take<T>(kTile);
    std::fill(v, v + kTile, value);
    return {.how = How::vector, .array = {v, 0}};
  }

  // Each result of the step is made where it is wanted; a second destination, or a leaf, is copied when its tile is done.
  void results(Stage& stage) {
    const Program& p = *stage.program;
    std::vector<std::pair<int, int>> made(p.slots.size(), {-1, -1});  // phase and pass
    for (size_t i = 0; i < p.phases.size(); ++i)
      for (size_t j = 0; j < p.phases[i].passes.size(); ++j)
        for (const Piece& piece : p.phases[i].passes[j].pieces) {
          const std::pair<int, int> here(i, j);
          if (piece.type == Piece::Type::product_t) made[piece.operand] = here;
          for (const Gate& g : piece.gates) made[g.target] = here;
          for (const Line& l : piece.lines) made[l.target] = here;
        }
    std::vector<Store> wanted;
    for (const Out& o : p.outs) {
      const bool output = o.type == Out::Type::y;
      if (output && (!out_ || !out_->y.data)) continue;
      wanted.push_back({o.slot, destination(o), output});
      if (o.type == Out::Type::gate && o.operand >= 0 && !stored(p.slots[o.operand]))
        wanted.push_back({o.operand, stash(o.operand), false});
    }
    std::stable_partition(wanted.begin(), wanted.end(), [](const Store& s) { return !s.output; });
    std::vector<bool> housed(p.slots.size(), false);
    for (const Store& s : wanted) {
      if (!s.output && (s.place.how == How::none || s.place.array.data == stage.places[s.slot].array.data)) continue;
      if (made[s.slot].first >= 0 && !s.output && !housed[s.slot]) {
        stage.places[s.slot] = s.place;
        housed[s.slot] = true;
        continue;
      }
      const auto [phase, pass] = made[s.slot].first >= 0 ? made[s.slot] : last_pass(stage, p.slots[s.slot].width);
      stage.passes[phase][pass].stores.push_back(s);
    }
  }

  static bool stored(const Slot& s) {  // lies in an array of positions anyway
    return s.kind == Kind::state || s.kind == Kind::after || s.kind == Kind::saved || s.kind == Kind::raw;
  }

  // A pass of this width at the very end, made where there is none.
  static std::pair<int, int> last_pass(Stage& stage, int width) {
    if (stage.passes.empty()) stage.passes.emplace_back();
    auto& passes = stage.passes.back();
    if (passes.empty() || passes.back().width != width) passes.push_back({nullptr, width, {}});
    return {static_cast<int>(stage.passes.size()) - 1, static_cast<int>(passes.size()) - 1};
  }

  Place<T> destination(const Out& o) {
    switch (o.type) {
      case Out::Type::state: return after_[o.index];
      case Out::Type::keep: return keep_ ? kept_[o.index] : Place<T>{};
      case Out::Type::carry: return flipped(carry_[o.index]);
      case Out::Type::y: return {};
      default: return stash(o.slot);
    }
  }

  // Memory of a chunk for what is summed over positions, or multiplied, once the chunk's steps are done.
  Place<T> stash(int slot) {
    stashes_.resize(backward_->slots.size());
    Place<T>& place = stashes_[slot];
    if (place.how == How::none) place = {.how = How::by_chunk, .array = array(backward_->slots[slot].width, chunk_rows_)};
    return place;
  }

  void pack_space(Stage& stage, const Program& p) {
    int64_t total = 0;
    std::vector<int64_t> at;
    const auto add = [&](int64_t numbers) {
      at.push_back(total);
      total += numbers;
    };
    for (const Matrix& m : p.matrices) add(m.size());
    for (const Before& b : p.before) add(int64_t{in_.inputs} * padded(p.slots[b.target].width));
    T* data = arena_.take<T>(total);
    for (size_t i = 0; i < at.size(); ++i) (i < p.matrices.size() ? stage.matrices : stage.inputs).push_back(data + at[i]);
  }

  void bind_backward() {
    for (const State& s : forward_.states) carry_.push_back(in_turn(s.width));
    bind(second_, *backward_);
    results(second_);
    pack_space(second_, *backward_);
    for (const Out& o : backward_->outs) {
      const bool weight = o.type == Out::Type::gate, x = weight && o.operand < 0;
      const int width = backward_->slots[o.slot].width;
      if (weight && gradients_->dparams[o.index]) {
        const int columns = backward_->params[o.index].columns;
        const Place<T> operand = x ? x_ : stored(backward_->slots[o.operand]) ? second_.places[o.operand] : stash(o.operand);
        weights_.push_back({&o, operand, arena_.take<T>(int64_t{width} * padded(columns)), width, columns});
      } else if (o.type == Out::Type::vector && gradients_->dparams[o.index]) {
        sum_of(o.slot);
      }
      if (x && gradients_->dx.data) inputs_.emplace_back(&o, arena_.take<T>(int64_t{width} * padded(in_.inputs)));
      if (o.type == Out::Type::raw) raw_ = stash(o.slot);
    }
    for (size_t i = 0; i < forward_.states.size(); ++i) {
      resets_.push_back({{}, forward_.states[i].width, nullptr});
      if (!in_.resets || !gradients_->dfresh[i]) continue;
      resets_[i].place = {.how = How::by_chunk, .array = array(resets_[i].width, chunk_rows_)};
      resets_[i].sum = arena_.take<T>(padded(resets_[i].width));
    }
  }

  T* sum_of(int slot) {
    const Place<T> place = stash(slot);
    for (const Column& c : columns_)
      if (c.place.array.data == place.array.data) return c.sum;
    const int width = backward_->slots[slot].width;
    columns_.push_back({place, width, arena_.take<T>(padded(width))});
    return columns_.back().sum;
  }

  void make_worker(Worker& w, int index) {
    w.index = index;
    const int locals = std::max({first_.locals, second_.locals, 1});
    w.scratch = arena_.take<T>(int64_t{locals} * kBlockRows * kTile);
    w.vectors = arena_.take<T>(kVectors * kTile);
    for (Stage* stage : {&first_, &second_}) {
      const bool second = stage == &second_;
      std::vector<Place<T>>& places = w.places[second];
      places = stage->places;
      for (size_t i = 0; split_ == Split::units && i < places.size(); ++i)  // one number a row: each thread makes its own
        if (stage->program->slots[i].kind == Kind::wide && stage->program->slots[i].width == 1) places[i] = in_turn(1);
      for (const auto& passes : stage->passes) {
        w.frames[second].emplace_back();
        for (const Bound& pass : passes) w.frames[second].back().push_back(frame(*stage, places, pass));
      }
    }
  }

  static Frame frame(const Stage& stage, const std::vector<Place<T>>& places, const Bound& pass) {
    Frame f;
    f.pointers.resize(places.size());
    f.strides.resize(places.size());
    const auto add = [&](int slot) {
      const bool fixed = (places[slot].how == How::local || places[slot].how == How::vector) && stage.program->slots[slot].kind != Kind::gradient;
      (fixed ? f.fixed : f.moving).push_back(slot);
    };
    if (pass.pass)
      for (int slot : pass.pass->slots) add(slot);
    for (const Store& s : pass.stores)
      if (!pass.pass || !std::binary_search(pass.pass->slots.begin(), pass.pass->slots.end(), s.slot)) add(s.slot);
    return f;
  }

  // ---- what every thread does

  void thread(int index, int size) {
    const FlushDenormals flush;
    Worker& w = team_[index];
    w.size = size;
    if (!backward_ || plan_.segment) pack(first_, forward_, w);
    if (!backward_) return infer(w);
    pack(second_, *backward_, w);
    pack_inputs(w);
    clear_sums(w);
    start_carries(w);
    sync(w);
    for (int64_t p0 = (std::max<int64_t>(rows_.longest, 1) - 1) / segment_ * segment_; p0 >= 0; p0 -= segment_) {
      const int64_t p1 = std::min(p0 + segment_, rows_.longest);
      w.segment_origin = rows_.offset(p0);
      if (plan_.segment) {
        border(w, p0, false);
        sync(w);
        forward(w, p0, p1);
      }
      backward(w, p0, p1);
    }
    finish(w);
  }

  // As `thread`, for parts of the rows that have nothing in common but the packed weights.
  void run_parts(int index, int size) {
    const FlushDenormals flush;
    Worker& w = team_[index];
    w.size = size;
    pack(first_, forward_, w);
    sync(w);
    for (size_t i = index; i < parts_.size(); i += size) parts_[i]->infer(parts_[i]->team_[0]);
  }

  void infer(Worker& w) {
    start(w);
    sync(w);
    forward(w, 0, rows_.longest);
    if (out_->y.data) clear_padding(w, out_->y, forward_.output);
  }

  void sync(Worker& w) { barrier_.wait(w.index, w.size); }

  void pack(Stage& stage, const Program& p, Worker& w) {
    int task = 0;
    const auto mine = [&] { return task++ % w.size == w.index; };
    for (size_t i = 0; i < p.matrices.size(); ++i) {
      const Matrix& m = p.matrices[i];
      const T* weight = static_cast<const T*>(in_.params[m.param]);
      const int64_t columns = p.params[m.param].columns, depth = std::accumulate(m.depths.begin(), m.depths.end(), int64_t{0});
      for (int t = 0; t < tiles(m.width); ++t) {
        const int wide = tile_width(m.width, t), used = std::min(kTile, m.width - t * kTile);
        T* to = stage.matrices[i] + t * kTile * depth;
        for (size_t part = 0; part < m.rows.size(); to += int64_t{m.depths[part++]} * wide) {
          if (!mine()) continue;
          if (m.transposed) {
            k_.pack(weight + m.rows[part] * columns + t * kTile, columns, m.depths[part], used, wide, to);
          } else {
            k_.pack_transposed(weight + (m.rows[part] + t * kTile) * columns, columns, used, wide, to);
          }
        }
      }
    }
    for (size_t i = 0; i < p.before.size(); ++i) {
      const Before& b = p.before[i];
      const int64_t columns = in_.inputs;
      const int width = p.slots[b.target].width;
      for (int t = 0; t < tiles(width); ++t)
        if (mine())
          k_.pack_transposed(static_cast<const T*>(in_.params[b.param]) + (b.row + t * kTile) * columns, columns,
                             std::min(kTile, width - t * kTile), tile_width(width, t), stage.inputs[i] + t * kTile * columns);
    }
  }

  // The weights that x was multiplied by, for dx.
  void pack_inputs(Worker& w) {
    int task = 0;
    for (const auto& [o, panel] : inputs_)
      for (int t = 0; t < tiles(in_.inputs); ++t) {
        const int64_t depth = backward_->slots[o->slot].width;
        if (task++ % w.size == w.index)
          k_.pack(static_cast<const T*>(in_.params[o->index]) + int64_t{o->row} * in_.inputs + t * kTile, in_.inputs, depth,
                  std::min(kTile, in_.inputs - t * kTile), tile_width(in_.inputs, t), panel + t * kTile * depth);
      }
  }

  void clear_sums(Worker& w) {
    int task = 0;
    const auto clear = [&](T* sum, int64_t numbers) {
      if (sum && task++ % w.size == w.index) std::fill(sum, sum + numbers, T{0});
    };
    for (const Weight& weight : weights_) clear(weight.sum, int64_t{weight.rows} * padded(weight.columns));
    for (const Column& c : columns_) clear(c.sum, padded(c.width));
    for (const Column& c : resets_) clear(c.sum, padded(c.width));
  }

  struct Span {  // rows of a step: first, first + step, ...
    int64_t first, count;
    int step;
  };
  Span span(const Worker& w, int64_t active) const {
    if (split_ == Split::units) return {0, active, 1};
    if (split_ == Split::nothing) return {0, w.index == 0 ? active : 0, 1};
    if (rows_.ragged())  // dealt out one by one: equal work whatever the lengths
      return {w.index, active > w.index ? (active - w.index + w.size - 1) / w.size : 0, w.size};
    const int64_t first = share(active, w.index, w.size);
    return {first, share(active, w.index + 1, w.size) - first, 1};
  }
  // This thread's units of a value, as parts of tiles; f(part).
  template <class F>
  void each_part(const Worker& w, int width, F f) const {
    int from = 0, to = padded(width);
    if (split_ == Split::units && width > 1) {
      from = static_cast<int>(share(to / kPad, w.index, w.size)) * kPad;
      to = static_cast<int>(share(to / kPad, w.index + 1, w.size)) * kPad;
    }
    for (int u = from; u < to;) {
      const int tile = u / kTile, first = u % kTile, wide = tile_width(width, tile), count = std::min(wide - first, to - u);
      f(Part{tile, wide, first, count, std::min(count, width - u)});
      u += count;
    }
  }

  // The part's first number in row `row` of step p.
  T* address(const Worker& w, const Place<T>& place, const Part& part, int64_t row, int64_t p) const {
    switch (place.how) {
      case How::vector: return place.array.data + (part.tile * kTile + part.first) * place.array.rows;
      case How::by_row: return place.array.at(part.tile, row, part.wide) + part.first + ((p + place.flip) & 1) * place.parity;
      case How::by_chunk: return place.array.at(part.tile, rows_.offset(p) - w.chunk_origin + row, part.wide) + part.first;
      case How::by_segment:
        return place.array.at(part.tile, rows_.offset(p) - w.segment_origin + place.shift + row, part.wide) + part.first;
      default: return nullptr;
    }
  }

  // The states before the first step.
  void start(Worker& w) {
    for (size_t k = 0; k < forward_.states.size(); ++k) {
      const int width = forward_.states[k].width;
      const Span s = span(w, rows_.rows);
      each_part(w, width, [&](const Part& part) {
        const int64_t at = part.tile * kTile + part.first;
        for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step) {
          const T* given = static_cast<const T*>(in_.states[k]);
          const T* from = given ? given + rows_.source(row) * width + at : fresh_[k] + at;
          if (row < rows_.active(0)) {
            const bool reset = in_.resets && rows_.reset(in_.resets, row, 0);
            T* to = address(w, before_[k], part, row, 0);
            std::memcpy(to, reset ? fresh_[k] + at : from, part.used * sizeof(T));
            std::fill(to + part.used, to + part.count, T{0});
          } else {
            std::memcpy(static_cast<T*>(out_->finals[k]) + rows_.source(row) * width + at, from, part.used * sizeof(T));
          }
        }
      });
    }
  }

  // The states at the border of a segment: written by the first run, read before the segment is run again.
  void border(Worker& w, int64_t p, bool write) {
    T* at = reserve_ + p / segment_ * state_numbers(forward_) * in_.rows;
    for (size_t k = 0; k < forward_.states.size(); ++k) {
      const int width = forward_.states[k].width;
      const Array<T> kept{at, in_.rows};
      const Span s = span(w, rows_.active(p));
      each_part(w, width, [&](const Part& part) {
        for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step) {
          T* mine = address(w, before_[k], part, row, p);
          T* other = kept.at(part.tile, row, part.wide) + part.first;
          std::memcpy(write ? other : mine, write ? mine : other, part.count * sizeof(T));
        }
      });
      at += Array<T>::numbers(width, in_.rows);
    }
  }

  // ---- forward

  void forward(Worker& w, int64_t p0, int64_t p1) {
    for (int64_t c0 = p0; c0 < p1; c0 += chunk_) {
      const int64_t c1 = std::min(c0 + chunk_, p1);
      w.chunk_origin = rows_.offset(c0);
      gather(w, c0, c1);
      sync_shared(w);
      input_products(w, c0, c1);
      sync_shared(w);
      for (int64_t p = c0; p < c1; ++p) {
        if (!backward_ && plan_.segment && p % segment_ == 0) border(w, p, true);
        step(w, first_, p);
        end_step(w, p, p + 1 < p1);
      }
      sync_shared(w);
    }
  }

  // This thread's positions of a chunk, as f(first, count, step): those of its own rows where rows are shared out (what one core wrote
  // another reads slowly), else an equal part of all.
  template <class F>
  void each_run(const Worker& w, int64_t c0, int64_t c1, F f) const {
    if (split_ == Split::rows && w.size > 1) {
      for (int64_t p = c0; p < c1; ++p) {
        const Span s = span(w, rows_.active(p));
        if (s.count > 0) f(rows_.offset(p) - w.chunk_origin + s.first, s.count, int64_t{s.step});
      }
      return;
    }
    const int64_t n = rows_.offset(c1) - w.chunk_origin, first = share(n, w.index, w.size), last = share(n, w.index + 1, w.size);
    if (first < last) f(first, last - first, int64_t{1});
  }
  // Threads that share out rows make what they read: they need not wait for each other. But ragged rows are dealt out one by one, and a
  // place of the next chunk is another thread's.
  void sync_shared(Worker& w) {
    if (split_ != Split::rows || rows_.ragged()) sync(w);
  }

  // The chunk's x, as [tile][position][tile width], nothing beyond a row's length among it.
  void gather(Worker& w, int64_t c0, int64_t c1) {
    int64_t p = c0;
    each_run(w, c0, c1, [&](int64_t first, int64_t count, int64_t step) {
      for (int64_t i = first; count-- > 0; i += step) {
        while (i + w.chunk_origin >= rows_.offset(p + 1)) ++p;
        const int64_t row = i + w.chunk_origin - rows_.offset(p);
        const T* from = static_cast<const T*>(in_.x.data) + rows_.source(row) * in_.x.row + rows_.time(row, p) * in_.x.step;
        for (int t = 0; t < tiles(in_.inputs); ++t) {
          const int wide = tile_width(in_.inputs, t), used = std::min(kTile, in_.inputs - t * kTile);
          T* to = x_.array.at(t, i, wide);
          std::memcpy(to, from + t * kTile, used * sizeof(T));
          if (used < wide) std::fill(to + used, to + wide, T{0});
        }
      }
    });
  }

  void input_products(Worker& w, int64_t c0, int64_t c1) {
    const auto& all = forward_.before;
    for (size_t i = 0, j; i < all.size(); i = j) {
      const int width = forward_.slots[all[i].target].width;
      for (j = i; j < all.size() && j < i + kVectors && forward_.slots[all[j].target].width == width && independent(i, j);) ++j;
      for (int t = 0; t < tiles(width); ++t)
        each_run(w, c0, c1, [&](int64_t first, int64_t count, int64_t step) { input_tile(w, i, j, t, first, count, step); });
    }
  }

  // Input products [i, j) of tile t at some positions.
  void input_tile(Worker& w, size_t i, size_t j, int t, int64_t first, int64_t count, int64_t step) {
    const int wide = tile_width(forward_.slots[forward_.before[i].target].width, t), rows = static_cast<int>(count);
    w.products.clear();
    for (size_t g = i; g < j; ++g) {
      const Before& b = forward_.before[g];
      const Array<T>& target = first_.places[b.target].array;
      Product<T> p{x_.array.data, x_.array.tile(), first, static_cast<int>(step), in_.inputs, first_.inputs[g] + t * kTile * int64_t{in_.inputs},
                   wide, rows, wide, nullptr, 0, false, target.at(t, first, wide), step * wide};
      begin(p, b.start, w.vectors + (g - i) * kTile, [&](int slot, int64_t& stride) {
        const Place<T>& from = first_.places[slot];
        stride = from.how == How::vector ? 0 : step * wide;
        return from.how == How::vector ? from.array.data + t * kTile * from.array.rows : from.array.at(t, first, wide);
      });
      w.products.push_back(p);
    }
    k_.product(w.products.data(), static_cast<int>(w.products.size()));
  }

  // Input product j reads none of those from i on.
  bool independent(size_t i, size_t j) const {
    for (int start : forward_.before[j].start)
      for (size_t k = i; k < j; ++k)
        if (forward_.before[k].target == start) return false;
    return true;
  }

  // What a product starts from: nothing, one value, or the sum of several, made in the target (of vectors alone: in `vectors`, [w]).
  template <class F>
  void begin(Product<T>& p, const std::vector<int>& start, T* vectors, F address_of) {
    if (start.empty()) return;
    p.start = address_of(start[0], p.start_row);
    for (size_t i = 1; i < start.size(); ++i) {
      int64_t stride;
      const T* more = address_of(start[i], stride);
      const bool vector = p.start_row == 0 && stride == 0;
      T* sum = vector ? vectors : p.c;
      const int64_t row = vector ? 0 : p.c_row;
      k_.pointwise[static_cast<int>(Op::add)](sum, row, p.start, p.start_row, more, stride, more, stride, vector ? 1 : p.rows, p.w);
      p.start = sum;
      p.start_row = row;
    }
  }

  // ---- one step of a program

  void step(Worker& w, Stage& stage, int64_t p) {
    const bool second = &stage == &second_;
    const Span rows = span(w, rows_.active(p));
    if (second) fetch_whole(w, rows, p);
    for (size_t i = 0; i < stage.passes.size(); ++i) {
      if (i < stage.program->phases.size()) {
        const Phase& phase = stage.program->phases[i];
        if (phase.whole && split_ == Split::units) sync(w);
        if (rows.count > 0)
          for (const Reduction& r : phase.reductions) reduce(w, stage, w.places[second], r, rows, p);
      }
      if (rows.count == 0) continue;
      for (size_t j = 0; j < stage.passes[i].size(); ++j) {
        const Bound& pass = stage.passes[i][j];
        const int blocks = static_cast<int>((rows.count + kBlockRows - 1) / kBlockRows);
        each_part(w, pass.width, [&](const Part& part) {
          for (int b = 0; b < blocks; ++b) {
            const int64_t from = share(rows.count, b, blocks), to = share(rows.count, b + 1, blocks);
            const Block here{stage, w.places[second], w.frames[second][i][j], part, {rows.first + from * rows.step, to - from, rows.step}, p};
            block(w, here, pass);
          }
        });
      }
    }
  }

  struct Block {  // some rows of a part, at one step
    const Stage& stage;
    const std::vector<Place<T>>& places;
    Frame& frame;
    const Part& part;
    Span rows;
    int64_t p;
  };

  void reduce(Worker& w, Stage& stage, const std::vector<Place<T>>& places, const Reduction& r, const Span& rows, int64_t p) {
    const Place<T>&from = places[r.source], &to = places[r.target];
    const int width = stage.program->slots[r.source].width;
    k_.reduce(r.type, whole(from, p), from.array.tile(), rows.first + row_of(w, from, p), width, static_cast<int>(rows.count), rows.step, r.eps,
              address(w, to, {0, kPad, 0, kPad, 1}, rows.first, p));
  }

  // A place's array, in the copy of step p; row_of: its row in which the step begins.
  static T* whole(const Place<T>& place, int64_t p) {
    return place.array.data + (place.how == How::by_row ? ((p + place.flip) & 1) * place.parity : 0);
  }
  int64_t row_of(const Worker& w, const Place<T>& place, int64_t p) const {
    if (place.how == How::by_chunk) return rows_.offset(p) - w.chunk_origin;
    if (place.how == How::by_segment) return rows_.offset(p) - w.segment_origin + place.shift;
    return 0;
  }

  void block(Worker& w, const Block& b, const Bound& pass) {
    Frame& f = b.frame;
    const Part& part = b.part;
    if (const int64_t where = part.tile * kTile + part.first; f.where != where) {
      for (int slot : f.fixed) resolve(w, b, pass.width, slot);
      f.where = where;
    }
    for (int slot : f.moving) resolve(w, b, pass.width, slot);
    static const std::vector<Piece> none;
    for (const Piece& piece : pass.pass ? pass.pass->pieces : none) {
      if (piece.type == Piece::Type::strip) {
        for (const Line& l : piece.lines) line(f, l, static_cast<int>(b.rows.count), part.count);
      } else if (piece.type == Piece::Type::product) {
        multiply(w, b, piece);
      } else {
        multiply_back(w, b, piece);
      }
    }
    for (const Store& s : pass.stores) store(w, b, s);
  }

  void resolve(Worker& w, const Block& b, int width, int slot) {
    const Place<T>& place = b.places[slot];
    const Slot& s = b.stage.program->slots[slot];
    if (place.how == How::local) {
      b.frame.pointers[slot] = w.scratch + place.array.rows * kBlockRows * kTile;
      b.frame.strides[slot] = b.part.count;
      if (s.kind == Kind::gradient) fetch(b.part, b.rows, b.p, b.frame.pointers[slot], b.part.count);
    } else {  // one number a row lies in a tile of its own
      const Part& part = s.width == width ? b.part : kNarrow;
      b.frame.pointers[slot] = address(w, place, part, b.rows.first, b.p);
      b.frame.strides[slot] = place.how == How::vector ? 0 : int64_t{b.rows.step} * part.wide;
    }
  }
  static constexpr Part kNarrow{0, kPad, 0, kPad, 1};

  void line(const Frame& f, const Line& l, int rows, int n) {
    const int b = l.b < 0 ? l.a : l.b, c = l.c < 0 ? l.a : l.c;
    const int64_t ds = f.strides[l.target], as = f.strides[l.a], bs = f.strides[b], cs = f.strides[c];
    const bool flat = l.op != Op::spread && ds == n && as == n && bs == n && cs == n;  // one long row
    k_.pointwise[static_cast<int>(l.op)](f.pointers[l.target], ds, f.pointers[l.a], as, f.pointers[b], bs, f.pointers[c], cs,
                                         flat ? 1 : rows, flat ? rows * n : n);
  }

  // A product of the block's rows: its left operand is slot `source`, all of it.
  Product<T> product(const Worker& w, const Block& b, int source, const T* panel, int target) const {
    const Place<T>& from = b.places[source];
    Product<T> q{};
    q.a = whole(from, b.p);
    q.a_tile = from.array.tile();
    q.a_row = b.rows.first + row_of(w, from, b.p);
    q.a_step = b.rows.step;
    q.k = b.stage.program->slots[source].width;
    q.b = panel + b.part.first;
    q.b_row = b.part.wide;
    q.rows = static_cast<int>(b.rows.count);
    q.w = b.part.count;
    q.c = b.frame.pointers[target];
    q.c_row = b.frame.strides[target];
    return q;
  }

  void multiply(Worker& w, const Block& b, const Piece& piece) {
    const Matrix& m = b.stage.program->matrices[piece.packed];
    const int64_t depth = m.depths[0], gates = static_cast<int64_t>(piece.gates.size());
    const T* panel = b.stage.matrices[piece.packed] + b.part.tile * kTile * depth * gates;
    w.products.clear();
    for (const Gate& g : piece.gates) {
      w.products.push_back(product(w, b, piece.operand, panel, g.target));
      begin(w.products.back(), g.start, w.vectors + (w.products.size() - 1) % kVectors * kTile, [&](int slot, int64_t& stride) {
        stride = b.frame.strides[slot];
        return b.frame.pointers[slot];
      });
      if (w.products.size() == kVectors) flush(w);
      panel += depth * b.part.wide;
    }
    flush(w);
  }

  void flush(Worker& w) {
    if (!w.products.empty()) k_.product(w.products.data(), static_cast<int>(w.products.size()));
    w.products.clear();
  }

  void multiply_back(Worker& w, const Block& b, const Piece& piece) {
    const Matrix& m = b.stage.program->matrices[piece.packed];
    const int64_t depth = std::accumulate(m.depths.begin(), m.depths.end(), int64_t{0});
    const T* panel = b.stage.matrices[piece.packed] + b.part.tile * kTile * depth;
    w.products.clear();
    for (const From& f : piece.froms) {
      w.products.push_back(product(w, b, f.source, panel, piece.operand));
      w.products.back().add = w.products.size() > 1;
      panel += int64_t{w.products.back().k} * b.part.wide;
    }
    flush(w);
  }

  // The output's gradient for some rows of a part; to: rows `stride` apart.
  void fetch(const Part& part, const Span& rows, int64_t p, T* to, int64_t stride) {
    const Steps& dy = gradients_->dy;
    for (int64_t i = 0, row = rows.first; i < rows.count; ++i, row += rows.step, to += stride) {
      if (dy.data)
        std::memcpy(to, static_cast<const T*>(dy.data) + rows_.source(row) * dy.row + rows_.time(row, p) * dy.step + part.tile * kTile + part.first,
                    part.used * sizeof(T));
      std::fill(to + (dy.data ? part.used : 0), to + part.count, T{0});
    }
  }

  // Before the step, where a product or a reduction reads it.
  void fetch_whole(Worker& w, const Span& rows, int64_t p) {
    for (size_t i = 0; i < second_.places.size(); ++i) {
      const Slot& s = backward_->slots[i];
      if (s.kind == Kind::gradient && s.index < 0 && second_.places[i].how == How::by_row && rows.count > 0)
        each_part(w, s.width, [&](const Part& part) {
          fetch(part, rows, p, address(w, second_.places[i], part, rows.first, p), int64_t{rows.step} * part.wide);
        });
    }
  }

  void store(Worker& w, const Block& b, const Store& s) {
    const T* from = b.frame.pointers[s.slot];
    const int64_t stride = b.frame.strides[s.slot];
    const Part& part = b.part;
    if (!s.output) {
      T* to = address(w, s.place, part, b.rows.first, b.p);
      k_.pointwise[static_cast<int>(Op::copy)](to, int64_t{b.rows.step} * part.wide, from, stride, from, stride, from, stride,
                                               static_cast<int>(b.rows.count), part.count);
      return;
    }
    const Steps& y = out_->y;
    T* to = static_cast<T*>(y.data) + part.tile * kTile + part.first;
    for (int64_t i = 0, row = b.rows.first; i < b.rows.count; ++i, row += b.rows.step)
      std::memcpy(to + rows_.source(row) * y.row + rows_.time(row, b.p) * y.step, from + i * stride, part.used * sizeof(T));
  }

  // After step p: the states of rows that end here go out; those of the others become the states before the next step.
  void end_step(Worker& w, int64_t p, bool more) {
    const bool ends = out_ && rows_.active(p + 1) < rows_.active(p), copies = keep_ && more && !shifted(in_);
    if (!ends && !copies && (keep_ || !in_.resets)) return;
    const Span s = span(w, rows_.active(p));
    for (size_t k = 0; k < forward_.states.size(); ++k) {
      const int width = forward_.states[k].width;
      each_part(w, width, [&](const Part& part) {
        const int64_t at = part.tile * kTile + part.first;
        for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step) {
          T* after = address(w, after_[k], part, row, p);
          if (row >= rows_.active(p + 1)) {
            if (ends) std::memcpy(static_cast<T*>(out_->finals[k]) + rows_.source(row) * width + at, after, part.used * sizeof(T));
            continue;
          }
          const bool reset = in_.resets && rows_.reset(in_.resets, row, p + 1);
          if (copies) {
            std::memcpy(address(w, before_[k], part, row, p + 1), reset ? fresh_[k] + at : after, part.count * sizeof(T));
          } else if (!keep_ && reset) {
            std::memcpy(after, fresh_[k] + at, part.count * sizeof(T));
          }
        }
      });
    }
  }

  // Zeros beyond each row's length.
  void clear_padding(Worker& w, const Steps& user, int width) {
    if (!in_.lengths || !user.data) return;
    for (int64_t row = share(rows_.rows, w.index, w.size); row < share(rows_.rows, w.index + 1, w.size); ++row)
      for (int64_t t = rows_.length(row); t < in_.steps; ++t) {
        T* to = static_cast<T*>(user.data) + rows_.source(row) * user.row + t * user.step;
        std::fill(to, to + width, T{0});
      }
  }

  // ---- backward

  // The gradients of the final states, in both copies: a row joins at its own last step.
  void start_carries(Worker& w) {
    for (size_t k = 0; k < forward_.states.size(); ++k) {
      const int width = forward_.states[k].width;
      const T* given = static_cast<const T*>(gradients_->dfinals[k]);
      const Span s = span(w, rows_.rows);
      each_part(w, width, [&](const Part& part) {
        for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step)
          for (int copy = 0; copy < 2; ++copy) {
            T* to = address(w, carry_[k], part, row, copy);
            std::fill(to, to + part.count, T{0});
            if (given) std::memcpy(to, given + rows_.source(row) * width + part.tile * kTile + part.first, part.used * sizeof(T));
          }
      });
    }
  }

  void backward(Worker& w, int64_t p0, int64_t p1) {
    for (int64_t c0 = p0 + (p1 - p0 - 1) / chunk_ * chunk_; p1 > p0 && c0 >= p0; c0 -= chunk_) {
      const int64_t c1 = std::min(c0 + chunk_, p1);
      w.chunk_origin = rows_.offset(c0);
      gather(w, c0, c1);
      if (reads_x()) sync_shared(w);
      for (int64_t p = c1 - 1; p >= c0; --p) {
        step(w, second_, p);
        end_backward_step(w, p);
      }
      sync(w);
      input_gradients(w, c0, c1);
      sums(w, rows_.offset(c1) - rows_.offset(c0));
      sync(w);
    }
  }

  bool reads_x() const {
    return std::any_of(backward_->slots.begin(), backward_->slots.end(), [](const Slot& s) { return s.kind == Kind::raw; });
  }

  // What the step passes to the states before it: nothing where it passed nothing, and to the fresh states where a reset cut.
  void end_backward_step(Worker& w, int64_t p) {
    const Span s = span(w, rows_.active(p));
    for (size_t k = 0; k < forward_.states.size(); ++k) {
      const bool silent = std::none_of(backward_->outs.begin(), backward_->outs.end(),
                                       [&](const Out& o) { return o.type == Out::Type::carry && o.index == static_cast<int>(k); });
      if (!silent && !in_.resets) continue;
      each_part(w, forward_.states[k].width, [&](const Part& part) {
        for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step) {
          T* carry = address(w, flipped(carry_[k]), part, row, p);
          const bool reset = in_.resets && rows_.reset(in_.resets, row, p);
          if (silent) std::fill(carry, carry + part.count, T{0});
          if (resets_[k].sum) {
            T* to = address(w, resets_[k].place, part, row, p);
            if (reset) {
              std::memcpy(to, carry, part.count * sizeof(T));
            } else {
              std::fill(to, to + part.count, T{0});
            }
          }
          if (reset) std::fill(carry, carry + part.count, T{0});
        }
      });
    }
  }

  void input_gradients(Worker& w, int64_t c0, int64_t c1) {
    if (!gradients_->dx.data) return;
    for (int t = 0; t < tiles(in_.inputs); ++t) {
      int64_t p = c0;
      each_run(w, c0, c1, [&](int64_t first, int64_t count, int64_t step) {
        for (int64_t i = 0; i < count; i += kBlockRows)
          input_gradient(w, t, first + i * step, static_cast<int>(std::min<int64_t>(kBlockRows, count - i)), step, p);
      });
    }
  }

  // Of tile t at some positions; p goes along with them.
  void input_gradient(Worker& w, int t, int64_t first, int rows, int64_t step, int64_t& p) {
    alignas(64) T made[kBlockRows * kTile];
    const int wide = tile_width(in_.inputs, t), used = std::min(kTile, in_.inputs - t * kTile);
    w.products.clear();
    for (const auto& [o, panel] : inputs_) {
      const Array<T>& from = stashes_[o->slot].array;
      const int depth = backward_->slots[o->slot].width;
      w.products.push_back({from.data, from.tile(), first, static_cast<int>(step), depth, panel + t * kTile * int64_t{depth}, wide, rows, wide,
                            nullptr, 0, !w.products.empty(), made, wide});
    }
    if (w.products.empty()) std::fill(made, made + rows * wide, T{0});
    flush(w);
    if (raw_.how != How::none) {
      const T* more = raw_.array.at(t, first, wide);
      k_.pointwise[static_cast<int>(Op::add)](made, wide, made, wide, more, step * wide, more, step * wide, rows, wide);
    }
    for (int r = 0; r < rows; ++r) {
      const int64_t i = first + r * step;
      while (i + w.chunk_origin >= rows_.offset(p + 1)) ++p;
      const int64_t row = i + w.chunk_origin - rows_.offset(p);
      std::memcpy(static_cast<T*>(gradients_->dx.data) + rows_.source(row) * gradients_->dx.row +
                      rows_.time(row, p) * gradients_->dx.step + t * kTile,
                  made + r * wide, used * sizeof(T));
    }
  }

  // The chunk's part of every sum over positions; a tile of a sum is one thread's, so no bit depends on how many there are.
  void sums(Worker& w, int64_t positions) {
    int64_t all = 0, task = 0;
    for (const Weight& g : weights_) all += int64_t{tiles(g.columns)} * tiles(g.rows);
    const int64_t first = share(all, w.index, w.size), last = share(all, w.index + 1, w.size);
    for (const Weight& g : weights_) {
      const Array<T>& gate = stashes_[g.out->slot].array;
      const int64_t operand_row = row_of_chunk(w, g.operand);
      for (int n = 0; n < tiles(g.columns); ++n)
        for (int m = 0; m < tiles(g.rows); ++m, ++task) {
          if (task < first || task >= last) continue;
          const int wide = tile_width(g.columns, n), tall = tile_width(g.rows, m);
          k_.outer(gate.at(m, 0, tall), tall, g.operand.array.at(n, operand_row, wide), wide, positions, std::min(kTile, g.rows - m * kTile),
                   g.sum + n * kTile * int64_t{g.rows} + int64_t{m} * kTile * wide);
        }
    }
    task = 0;
    const auto columns = [&](const Column& c) {
      if (!c.sum) return;
      for (int t = 0; t < tiles(c.width); ++t)
        if (task++ % w.size == w.size - 1 - w.index)
          k_.column_sum(c.place.array.at(t, 0, tile_width(c.width, t)), tile_width(c.width, t), positions, c.sum + t * kTile);
    };
    for (const Column& c : columns_) columns(c);
    for (const Column& c : resets_) columns(c);
  }

  int64_t row_of_chunk(const Worker& w, const Place<T>& place) const {
    return place.how == How::by_segment ? w.chunk_origin - w.segment_origin + place.shift : 0;
  }

  // Sums and carries go out, exact widths.
  void finish(Worker& w) {
    const Span s = span(w, rows_.rows);
    for (size_t k = 0; k < forward_.states.size(); ++k) {
      const int width = forward_.states[k].width;
      if (T* to = static_cast<T*>(gradients_->dstates[k]))
        each_part(w, width, [&](const Part& part) {
          for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step)
            std::memcpy(to + rows_.source(row) * width + part.tile * kTile + part.first, address(w, flipped(carry_[k]), part, row, 0),
                        part.used * sizeof(T));
        });
    }
    if (gradients_->dx.data) clear_padding(w, gradients_->dx, in_.inputs);
    for (size_t i = 0; i < gradients_->dparams.size(); ++i)  // a parameter is one thread's
      if (gradients_->dparams[i] && static_cast<int>(i) % w.size == w.index) finish_param(static_cast<int>(i));
    for (size_t k = 0; k < resets_.size(); ++k)
      if (w.index == 0 && gradients_->dfresh[k]) {
        T* to = static_cast<T*>(gradients_->dfresh[k]);
        if (resets_[k].sum) {
          std::copy(resets_[k].sum, resets_[k].sum + resets_[k].width, to);
        } else {
          std::fill(to, to + forward_.states[k].width, T{0});
        }
      }
  }

  void finish_param(int index) {
    const Param& param = forward_.params[index];
    T* to = static_cast<T*>(gradients_->dparams[index]);
    std::fill(to, to + int64_t{param.rows} * param.columns, T{0});
    for (const Weight& g : weights_)
      if (g.out->index == index)
        for (int n = 0; n < tiles(g.columns); ++n) {
          const int wide = tile_width(g.columns, n), used = std::min(kTile, g.columns - n * kTile);
          for (int m = 0; m < g.rows; ++m) {
            const T* from = g.sum + n * kTile * int64_t{g.rows} + int64_t{m} * wide;
            T* at = to + int64_t{g.out->row + m} * g.columns + n * kTile;
            for (int i = 0; i < used; ++i) at[i] += from[i];
          }
        }
    for (const Out& o : backward_->outs)
      if (o.type == Out::Type::vector && o.index == index) {
        const T* from = sum_of(o.slot);
        for (int i = 0; i < backward_->slots[o.slot].width; ++i) to[o.row + i] += from[i];
      }
  }

  enum class Split : uint8_t { rows, units, nothing } split_ = Split::rows;
  const Program& forward_;
  const Program* backward_;
  const Inputs& in_;
  const Outputs* out_;
  const Gradients* gradients_;
  const Reserve plan_;
  T* reserve_;
  Rows rows_;
  const Kernels<T>& k_;
  int64_t chunk_, segment_, chunk_rows_ = 0;
  bool keep_;
  Arena arena_;
  Barrier barrier_;
  Stage first_, second_;
  Place<T> x_, raw_;
  std::vector<Place<T>> before_, after_, kept_, carry_, stashes_;
  std::vector<const T*> fresh_;
  std::vector<Weight> weights_;
  std::vector<Column> columns_, resets_;
  std::vector<std::pair<const Out*, T*>> inputs_;  // gates that multiplied x, and their packed weights for dx
  std::vector<Worker> team_;
  std::vector<std::unique_ptr<Run>> parts_;
};

}  // namespace

template <class T>
void run_forward(const Program& program, const Inputs& in, const Outputs& out, const Reserve& plan, void* reserve, int threads) {
  Run<T>(program, nullptr, in, &out, nullptr, plan, static_cast<T*>(reserve)).go(threads);
}

template <class T>
void run_backward(const Program& forward, const Program& backward, const Inputs& in, const Gradients& gradients, const Reserve& plan,
                  const void* reserve, int threads) {
  // Without segments the reserve is only read; with them only its borders are.
  Run<T>(forward, &backward, in, nullptr, &gradients, plan, static_cast<T*>(const_cast<void*>(reserve))).go(threads);
}

template void run_forward<float>(const Program&, const Inputs&, const Outputs&, const Reserve&, void*, int);
template void run_forward<double>(const Program&, const Inputs&, const Outputs&, const Reserve&, void*, int);
template void run_backward<float>(const Program&, const Program&, const Inputs&, const Gradients&, const Reserve&, const void*, int);
template void run_backward<double>(const Program&, const Program&, const Inputs&, const Gradients&, const Reserve&, const void*, int);

std::vector<std::string> instruction_sets() { return sets(); }
std::string instructions() { return chosen(); }
void set_instructions(const std::string& name) {
  if (std::find(sets().begin(), sets().end(), name) == sets().end())
    throw std::invalid_argument("this processor or build has no instruction set '" + name + "'");
  chosen() = name;
}

double peak(int threads, double seconds) {
  struct Shared {
    double seconds;
    std::vector<double> flops;
  } shared{seconds, std::vector<double>(threads)};
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  parallel(threads, [](void* data, int index, int) {
    auto* s = static_cast<Shared*>(data);
    const auto from = std::chrono::steady_clock::now();
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count() < s->seconds)
      s->flops[index] += kernels<float>().exercise(1000);
  }, &shared);
  return std::accumulate(shared.flops.begin(), shared.flops.end(), 0.0) / elapsed();
}

void set_poison(bool on) { poison = on; }

}  // namespace elman
