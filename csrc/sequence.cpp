#include "sequence.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <tuple>

#include "binding.h"
#include "kernels.h"
#include "rows.h"
#include "threads.h"

namespace elman {
namespace {

constexpr int kBlockRows = 24;  // a block: rows of one tile that a pass works on at a time

// Of noise `number` in the pass that is `pass` after the key's.
Chance chance_of(const int64_t* key, int64_t pass, int number) {
  return {.row = 0, .time = 0, .stream = static_cast<uint32_t>(((key[2] + pass) << 8) + number),
          .key = {static_cast<uint32_t>(key[0]), static_cast<uint32_t>(key[0] >> 32)}};
}

struct Span {  // rows of a step: first, first + step, ...
  int64_t first, count;
  int step;
};

// One call: what each of its threads does.
template <class T>
class Run {
 public:
  // A part of the rows can be run by itself.
  explicit Run(const Call<T>& call, int part = 0, int parts = 1)
      : call_(call), rows_(call.in, part, parts), k_(kernels<T>()), bound_(call_, rows_) {}

  // Memory and matrices; what `again` then runs, as often as it is called.
  void prepare(int threads, bool live = false) {
    threads_ = small(live) ? 1 : std::min(threads, kMostThreads);
    split_ = split(threads_);
    if (split_ == Split::nothing && work() < 1e8) threads_ = 1;  // what is left to share out is worth no region
    bound_.make_matrices(bound_.first, call_.forward);
    team_.resize(threads_);
    if (split_ == Split::rows && threads_ > 1 && apart()) return make_parts();
    bind(threads_);
  }

  void read_vectors() {
    for (const auto& part : parts_) part->read_vectors();
    if (parts_.empty()) bound_.read_vectors();
  }

  void again() {
    parallel(threads_, [](void* run, int index, int size) { static_cast<Run*>(run)->thread(index, size); }, this);
  }

  void pack_into(T* to) {
    bound_.make_matrices(bound_.first, call_.forward);
    const T* own = bound_.first.matrices.empty() ? nullptr : bound_.first.matrices[0];
    for (T*& m : bound_.first.matrices) m = to + (m - own);
    pack(bound_.first, {});
  }

  // A region of several threads costs some microseconds; so does fetching weights that are in nobody's cache. A live run finds its threads
  // awake, and what a step takes is reading the weights: from half a core's cache on two cores are faster.
  bool small(bool live = false) const {
    return work() < 4e6 && packed_numbers(call_.forward) * sizeof(T) < ((live ? 1u : 2u) << 20);
  }

  // What every thread does.
  void thread(int index, int size) {
    const FlushDenormals flush;
    Worker& w = team_[index];
    w.size = size;
    if (!parts_.empty()) return run_parts(w);
    if ((!call_.backward || call_.plan.segment) && !call_.in.packed) pack(bound_.first, w);
    if (!call_.backward) return forward_run(w);
    pack(bound_.second, w);
    clear_sums(w);
    start_carries(w);
    sync(w);
    const int64_t segment = bound_.segment;
    for (int64_t p0 = (std::max<int64_t>(rows_.longest, 1) - 1) / segment * segment; p0 >= 0; p0 -= segment) {
      const int64_t p1 = std::min(p0 + segment, rows_.longest);
      w.segment_origin = rows_.offset(p0);
      if (call_.plan.segment) {
        border(w, p0, false);
        sync(w);
        forward(w, p0, p1);
      }
      backward(w, p0, p1);
    }
    finish(w);
  }

 private:
  struct Frame {  // the slots of a pass, for the block at hand
    std::vector<T*> pointers;        // by slot
    std::vector<int64_t> strides;    // numbers from row to row
    std::vector<int> fixed, moving;  // slots that are the same at every step, and the others
    int64_t where = -1;              // the first unit for which `fixed` are resolved
  };

  struct Worker {  // what a thread has for itself
    int index = 0, size = 1;
    T* scratch = nullptr;                          // locals: [local][row of the block][kTile]
    T* vectors = nullptr;                          // sums of vectors that products start from: [product][kTile]
    int64_t chunk_origin = 0, segment_origin = 0;  // positions
    std::vector<Place<T>> places[2];               // by stage and slot
    std::vector<std::vector<Frame>> frames[2];     // by stage, phase and pass
    std::vector<Product<T>> products;
  };

  struct Block {  // some rows of a part, at one step
    const Stage<T>& stage;
    const std::vector<Place<T>>& places;
    Frame& frame;
    const Part& part;
    Span rows;
    int64_t p;
  };

  // What the threads share out in the time loop: rows, which need no barrier, or the units of few rows.
  enum class Split : uint8_t { rows, units, nothing };

  double work() const {
    double flops = 0;
    for (const Matrix& m : call_.forward.matrices)
      flops += 2.0 * static_cast<double>(m.rows.size()) * m.width * m.depths[0] * static_cast<double>(rows_.positions);
    return flops;
  }

  // A barrier costs about what a core multiplies in half a microsecond: a step must be worth several.
  Split split(int threads) const {
    int widest = 1;
    double weights = 0, barriers = 1;
    for (const Slot& s : call_.forward.slots) widest = std::max(widest, s.kind == Kind::raw ? 1 : s.width);
    for (const Matrix& m : call_.forward.matrices) weights += m.input ? 0 : static_cast<double>(m.size());
    for (const Phase& p : call_.forward.phases) barriers += p.whole;
    const bool narrow = call_.forward.narrow_outputs || (call_.backward && call_.backward->narrow_outputs);
    const bool units = widest >= 2 * kPad * threads && !narrow && weights * std::max<double>(2 * call_.in.rows, 4) > 75e3 * barriers;
    const bool near = weights * sizeof(T) < 1.2e6;  // every thread can have all of them in its own cache
    const int least = !units ? 1 : near && apart() ? 4 : 6;
    if (threads == 1 || rows_.rows >= least * int64_t{threads}) return Split::rows;
    return units ? Split::units : Split::nothing;
  }

  // A run whose threads, when they share out rows, need nothing of each other: no cache line has two writers.
  bool apart() const { return !call_.backward && !call_.reserve; }

  void bind(int threads) {
    bound_.bind_forward();
    if (call_.backward) bound_.bind_backward();
    team_.resize(threads);
    for (int i = 0; i < threads; ++i) make_worker(team_[i], i);
  }

  // Each thread's rows are a run of their own, with nothing in common but the packed weights.
  void make_parts() {
    for (int i = 0; i < threads_; ++i) {
      parts_.push_back(std::make_unique<Run>(call_, i, threads_));
      parts_[i]->bound_.first = bound_.first;
      parts_[i]->bind(1);
      team_[i].index = i;
    }
  }

  void make_worker(Worker& w, int index) {
    w.index = index;
    w.scratch = bound_.arena.template take<T>(int64_t{std::max({bound_.first.locals, bound_.second.locals, 1})} * kBlockRows * kTile);
    size_t most = 1;  // products at a time
    for (const auto& group : call_.forward.input_products) most = std::max(most, group.size());
    for (const Stage<T>* stage : {&bound_.first, &bound_.second}) {
      const bool second = stage == &bound_.second;
      std::vector<Place<T>>& places = w.places[second];
      places = stage->places;
      for (size_t i = 0; split_ == Split::units && i < places.size(); ++i)  // one number a row: each thread makes its own
        if (stage->program->slots[i].kind == Kind::wide && stage->program->slots[i].width == 1) places[i] = bound_.in_turn(1);
      for (const auto& passes : stage->passes) {
        w.frames[second].emplace_back();
        for (const Bound<T>& pass : passes) {
          w.frames[second].back().push_back(frame(*stage, places, pass));
          for (const Piece& piece : pass.pass->pieces) most = std::max(most, piece.gates.size());
        }
      }
    }
    w.vectors = bound_.arena.template take<T>(static_cast<int64_t>(most) * kTile);
  }

  static Frame frame(const Stage<T>& stage, const std::vector<Place<T>>& places, const Bound<T>& pass) {
    std::vector<int> slots = pass.pass->slots;
    for (const Store<T>& s : pass.stores)
      if (std::find(slots.begin(), slots.end(), s.slot) == slots.end()) slots.push_back(s.slot);
    Frame f{std::vector<T*>(places.size()), std::vector<int64_t>(places.size()), {}, {}};
    for (int slot : slots) {
      const How how = places[slot].how;
      const Kind kind = stage.program->slots[slot].kind;
      const bool fixed = (how == How::local || how == How::vector) && kind != Kind::gradient && kind != Kind::noise;
      (fixed ? f.fixed : f.moving).push_back(slot);
    }
    return f;
  }

  // ---- what a thread does

  void run_parts(Worker& w) {
    if (!call_.in.packed) pack(bound_.first, w);
    sync(w);
    for (size_t i = w.index; i < parts_.size(); i += w.size) parts_[i]->forward_run(parts_[i]->team_[0]);
  }

  void forward_run(Worker& w) {
    start(w);
    if (split_ != Split::units) sync(w);  // else threads wait for each other once x is gathered too
    forward(w, 0, rows_.longest);
    clear_padding(w, call_.out->y, call_.forward.output);
    clear_padding(w, call_.out->taps, call_.forward);
  }

  void sync(Worker& w) { barrier_.wait(w.index, w.size); }

  void pack(const Stage<T>& stage, const Worker& w) {
    int task = 0;
    for (const bool input : {false, true})  // those of x last: they are used first
      for (size_t i = 0; i < stage.matrices.size(); ++i)
        if (stage.matrices[i] && stage.program->matrices[i].input == input) pack(stage, i, w, task);
  }

  void pack(const Stage<T>& stage, size_t i, const Worker& w, int& task) {
    const Matrix& m = stage.program->matrices[i];
    const T* weight = static_cast<const T*>(call_.in.params[m.param]);
    const int64_t columns = stage.program->params[m.param].columns;
    for (int t = 0; t < tiles(m.width); ++t) {
      const int wide = tile_width(m.width, t);
      T* to = stage.matrices[i] + t * kTile * m.depth();
      for (size_t part = 0; part < m.rows.size(); to += int64_t{m.depths[part++]} * wide) {
        if (task++ % w.size != w.index) continue;
        if (m.transposed) {
          k_.pack(weight + m.rows[part] * columns + t * kTile, columns, m.depths[part], used(m.width, t), wide, to);
        } else {
          k_.pack_transposed(weight + (m.rows[part] + t * kTile) * columns, columns, used(m.width, t), wide, to);
        }
      }
    }
  }

  void clear_sums(const Worker& w) {
    int task = 0;
    const auto clear = [&](T* sum, int64_t numbers) {
      if (task++ % w.size == w.index) std::fill(sum, sum + numbers, T{0});
    };
    for (const Weight<T>& weight : bound_.weights) clear(weight.sum, int64_t{weight.rows} * padded(weight.columns));
    for (const Column<T>& c : bound_.columns) clear(c.sum, padded(c.width));
  }

  // ---- who does what, and where it lies

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

  // This thread's units and rows, of the first `active` ones, of every state; f(state, part, row).
  template <class F>
  void each_state(const Worker& w, int64_t active, F f) const {
    const Span s = span(w, active);
    for (size_t k = 0; k < call_.forward.states.size(); ++k)
      each_part(w, call_.forward.states[k].width, [&](const Part& part) {
        for (int64_t i = 0, row = s.first; i < s.count; ++i, row += s.step) f(k, part, row);
      });
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

  // The row of a place's array at which step p begins.
  int64_t row_of(const Worker& w, const Place<T>& place, int64_t p) const {
    if (place.how == How::by_chunk) return rows_.offset(p) - w.chunk_origin;
    if (place.how == How::by_segment) return rows_.offset(p) - w.segment_origin + place.shift;
    return 0;
  }

  // The part's first number in row `row` of step p.
  T* address(const Worker& w, const Place<T>& place, const Part& part, int64_t row, int64_t p) const {
    if (place.how == How::vector) return place.array.data + part.unit() * place.array.rows;
    return place.copy(p) + part.tile * place.array.tile() + (row_of(w, place, p) + row) * part.wide + part.first;
  }

  // Row `row` at step p of what the user gave or wants by steps.
  T* at(const Steps& user, int64_t row, int64_t p) const {
    return static_cast<T*>(user.data) + rows_.source(row) * user.row + rows_.time(row, p) * user.step;
  }

  // The same of state k, [rows][width]: where the part lies in it.
  int64_t offset(size_t k, const Part& part, int64_t row) const {
    return rows_.source(row) * call_.forward.states[k].width + part.unit();
  }

  // What comes into an array: exact width there, padded here; null: zeros.
  static void bring_in(const Part& part, T* to, const T* from) {
    if (from) std::memcpy(to, from, part.used * sizeof(T));
    std::fill(to + (from ? part.used : 0), to + part.count, T{0});
  }

  static void hand_out(const Part& part, T* to, const T* from) { std::memcpy(to, from, part.used * sizeof(T)); }

  bool reset(int64_t row, int64_t p) const { return call_.in.resets && rows_.reset(call_.in.resets, row, p); }

  void apply(Op op, T* d, int64_t ds, const T* a, int64_t as, const T* b, int64_t bs, int64_t rows, int n) const {
    k_.pointwise[static_cast<int>(op)](d, ds, a, as, b, bs, a, as, static_cast<int>(rows), n);
  }

  void flush(Worker& w) {
    if (!w.products.empty()) k_.product(w.products.data(), static_cast<int>(w.products.size()));
    w.products.clear();
  }

  // What a product starts from: nothing, one value, or the sum of several, made in the target (of vectors alone: in `vectors`, [w]).
  // address_of(slot): its first number and how far it is from row to row.
  template <class F>
  void begin(Product<T>& p, const std::vector<int>& start, T* vectors, F address_of) {
    if (start.empty()) return;
    std::tie(p.start, p.start_row) = address_of(start[0]);
    for (size_t i = 1; i < start.size(); ++i) {
      const auto [more, stride] = address_of(start[i]);
      const bool vector = p.start_row == 0 && stride == 0;
      T* sum = vector ? vectors : p.c;
      const int64_t row = vector ? 0 : p.c_row;
      apply(Op::add, sum, row, p.start, p.start_row, more, stride, vector ? 1 : p.rows, p.w);
      p.start = sum;
      p.start_row = row;
    }
  }

  // ---- forward

  // The states before the first step.
  void start(Worker& w) {
    each_state(w, rows_.rows, [&](size_t k, const Part& part, int64_t row) {
      const T *given = static_cast<const T*>(call_.in.states[k]), *fresh = bound_.fresh[k] + part.unit();
      const T* from = given ? given + offset(k, part, row) : fresh;
      if (row < rows_.active(0)) {
        bring_in(part, address(w, bound_.before[k], part, row, 0), reset(row, 0) ? fresh : from);
      } else {
        hand_out(part, static_cast<T*>(call_.out->finals[k]) + offset(k, part, row), from);
      }
    });
  }

  // The states at the border of a segment: written by the first run, read before the segment is run again.
  void border(Worker& w, int64_t p, bool write) {
    std::vector<Array<T>> kept;
    T* next = call_.reserve + p / bound_.segment * state_numbers(call_.forward) * call_.in.rows;
    for (const State& s : call_.forward.states) {
      kept.push_back({next, call_.in.rows});
      next += Array<T>::numbers(s.width, call_.in.rows);
    }
    each_state(w, rows_.active(p), [&](size_t k, const Part& part, int64_t row) {
      T* mine = address(w, bound_.before[k], part, row, p);
      T* other = kept[k].at(part.tile, row, part.wide) + part.first;
      bring_in(part, write ? other : mine, write ? mine : other);
    });
  }

  void forward(Worker& w, int64_t p0, int64_t p1) {
    for (int64_t c0 = p0; c0 < p1; c0 += bound_.chunk) {
      const int64_t c1 = std::min(c0 + bound_.chunk, p1);
      w.chunk_origin = rows_.offset(c0);
      gather(w, c0, c1);
      sync_shared(w);
      input_products(w, c0, c1);
      sync_shared(w);
      for (int64_t p = c0; p < c1; ++p) {
        if (!call_.backward && call_.plan.segment && p % bound_.segment == 0) border(w, p, true);
        step(w, bound_.first, p, p > c0);
        end_step(w, p, p + 1 < p1);
      }
      if (c1 < p1 || call_.backward) sync_shared(w);
    }
  }

  // The chunk's x, as [tile][position][tile width], nothing beyond a row's length among it.
  void gather(Worker& w, int64_t c0, int64_t c1) {
    const int width = call_.in.inputs;
    int64_t p = c0;
    each_run(w, c0, c1, [&](int64_t first, int64_t count, int64_t step) {
      for (int64_t i = first; count-- > 0; i += step) {
        const int64_t row = rows_.row_at(i + w.chunk_origin, p);
        const T* from = at(call_.in.x, row, p);
        for (int t = 0; t < tiles(width); ++t) {
          const int wide = tile_width(width, t);
          bring_in({t, wide, 0, wide, used(width, t)}, bound_.x.array.at(t, i, wide), from + t * kTile);
        }
      }
    });
  }

  void input_products(Worker& w, int64_t c0, int64_t c1) {
    const int64_t n = rows_.offset(c1) - w.chunk_origin;
    const bool few = split_ == Split::units && n < w.size;  // then tiles are shared out, and not positions
    for (const auto& group : call_.forward.input_products)
      for (int t = 0; t < tiles(call_.forward.slots[group[0].slot].width); ++t) {
        const auto of_tile = [&](int64_t first, int64_t count, int64_t step) {
          for (const InputProduct& product : group) input_product(w, product, t, first, static_cast<int>(count), static_cast<int>(step));
          flush(w);
        };
        if (!few) {
          each_run(w, c0, c1, of_tile);
        } else if (t % w.size == w.index) {
          of_tile(0, n, 1);
        }
      }
  }

  // Tile t of an input product at some positions.
  void input_product(Worker& w, const InputProduct& product, int t, int64_t first, int rows, int step) {
    const int depth = call_.in.inputs, wide = tile_width(call_.forward.slots[product.slot].width, t);
    const Array<T>&x = bound_.x.array, &target = bound_.first.places[product.slot].array;
    const T* panel = bound_.first.matrices[product.matrix] + t * kTile * int64_t{depth};
    Product<T> q{x.data, x.tile(), first, step, depth, panel, wide, rows, wide, nullptr, 0, false, target.at(t, first, wide), step * wide};
    begin(q, product.start, w.vectors + w.products.size() * kTile, [&](int slot) {
      const Place<T>& from = bound_.first.places[slot];
      const bool vector = from.how == How::vector;
      return std::pair<const T*, int64_t>(vector ? from.array.data + t * kTile * from.array.rows : from.array.at(t, first, wide),
                                          vector ? 0 : step * wide);
    });
    w.products.push_back(q);
  }

  // After step p: the states of rows that end here go out; those of the others become the states before the next step.
  void end_step(Worker& w, int64_t p, bool more) {
    const int64_t active = rows_.active(p), go_on = rows_.active(p + 1);
    const bool ends = call_.out && go_on < active, copies = bound_.keep && more && !shifted(call_.in);
    if (!ends && !copies && (bound_.keep || !call_.in.resets)) return;
    each_state(w, active, [&](size_t k, const Part& part, int64_t row) {
      T* after = address(w, bound_.after[k], part, row, p);
      if (row >= go_on) {
        if (ends) hand_out(part, static_cast<T*>(call_.out->finals[k]) + offset(k, part, row), after);
        return;
      }
      const T* fresh = reset(row, p + 1) ? bound_.fresh[k] + part.unit() : nullptr;
      if (copies) {
        bring_in(part, address(w, bound_.before[k], part, row, p + 1), fresh ? fresh : after);
      } else if (!bound_.keep && fresh) {
        bring_in(part, after, fresh);
      }
    });
  }

  // Zeros beyond each row's length.
  void clear_padding(Worker& w, const Steps& user, int width) {
    if (!call_.in.lengths || !user.data) return;
    for (int64_t row = share(rows_.rows, w.index, w.size); row < share(rows_.rows, w.index + 1, w.size); ++row)
      for (int64_t t = rows_.length(row); t < call_.in.steps; ++t) {
        T* to = static_cast<T*>(user.data) + rows_.source(row) * user.row + t * user.step;
        std::fill(to, to + width, T{0});
      }
  }

  void clear_padding(Worker& w, const std::vector<Steps>& taps, const Program& program) {
    for (const Out& o : program.outs)
      if (o.type == Out::Type::tap && !taps.empty()) clear_padding(w, taps[o.index], program.slots[o.slot].width);
  }

  // ---- one step of a program

  // waits: whether another thread may still be at what the first phase reads.
  void step(Worker& w, Stage<T>& stage, int64_t p, bool waits = true) {
    const bool second = &stage == &bound_.second;
    const Span rows = span(w, rows_.active(p));
    if (second) fetch_whole(w, rows, p);
    for (size_t i = 0; i < stage.passes.size(); ++i) {
      const Phase& phase = stage.program->phases[i];
      if (phase.whole && split_ == Split::units && (i > 0 || waits)) sync(w);
      if (rows.count == 0) continue;
      for (const Reduction& r : phase.reductions) reduce(w, stage, w.places[second], r, rows, p);
      for (size_t j = 0; j < stage.passes[i].size(); ++j) {
        const Bound<T>& pass = stage.passes[i][j];
        const int blocks = static_cast<int>((rows.count + kBlockRows - 1) / kBlockRows);
        each_part(w, pass.pass->width, [&](const Part& part) {
          for (int b = 0; b < blocks; ++b) {
            const int64_t from = share(rows.count, b, blocks), to = share(rows.count, b + 1, blocks);
            block(w, {stage, w.places[second], w.frames[second][i][j], part, {rows.first + from * rows.step, to - from, rows.step}, p}, pass);
          }
        });
      }
    }
  }

  void reduce(Worker& w, Stage<T>& stage, const std::vector<Place<T>>& places, const Reduction& r, const Span& rows, int64_t p) {
    const Place<T>& from = places[r.source];
    k_.reduce(r.type, from.copy(p), from.array.tile(), rows.first + row_of(w, from, p), stage.program->slots[r.source].width,
              static_cast<int>(rows.count), rows.step, r.eps, address(w, places[r.target], kNarrow, rows.first, p));
  }
  static constexpr Part kNarrow{0, kPad, 0, kPad, 1};  // one number a row, in a tile of its own

  void block(Worker& w, const Block& b, const Bound<T>& pass) {
    Frame& f = b.frame;
    if (f.where != b.part.unit()) {
      for (int slot : f.fixed) resolve(w, b, pass.pass->width, slot);
      f.where = b.part.unit();
    }
    for (int slot : f.moving) resolve(w, b, pass.pass->width, slot);
    for (const Piece& piece : pass.pass->pieces) {
      if (piece.type == Piece::Type::strip) {
        for (const Line& l : piece.lines) line(f, l, static_cast<int>(b.rows.count), b.part.count);
      } else {
        multiply(w, b, piece);
      }
    }
    for (const Store<T>& s : pass.stores) store(w, b, s);
  }

  void resolve(Worker& w, const Block& b, int width, int slot) {
    const Place<T>& place = b.places[slot];
    const Slot& s = b.stage.program->slots[slot];
    T*& pointer = b.frame.pointers[slot];
    if (place.how == How::local) {
      pointer = w.scratch + place.array.rows * kBlockRows * kTile;
      b.frame.strides[slot] = b.part.count;
      const Part& part = s.width == width ? b.part : kNarrow;
      if (s.kind == Kind::gradient) fetch(given(s.index), part, b.rows, b.p, pointer, b.part.count);
      if (s.kind == Kind::noise) draw(s.index, part, b.rows, b.p, pointer, b.part.count);
    } else {
      const Part& part = s.width == width ? b.part : kNarrow;
      pointer = address(w, place, part, b.rows.first, b.p);
      b.frame.strides[slot] = place.how == How::vector ? 0 : int64_t{b.rows.step} * part.wide;
    }
  }

  void line(const Frame& f, const Line& l, int rows, int n) {
    const auto [a, b, c] = l.from;
    const int64_t ds = f.strides[l.target], as = f.strides[a], bs = f.strides[b], cs = f.strides[c];
    const bool flat = l.op != Op::spread && ds == n && as == n && bs == n && cs == n;  // one long row
    k_.pointwise[static_cast<int>(l.op)](f.pointers[l.target], ds, f.pointers[a], as, f.pointers[b], bs, f.pointers[c], cs,
                                         flat ? 1 : rows, flat ? rows * n : n);
  }

  // Products of the block's rows: their left operands are slots, all units of them. Each of `product` has a target of its own, those of
  // `product_t` add to one.
  void multiply(Worker& w, const Block& b, const Piece& piece) {
    const Matrix& m = b.stage.program->matrices[piece.matrix];
    const T* panel = b.stage.matrices[piece.matrix] + b.part.tile * kTile * m.depth() + b.part.first;
    for (const Gate& g : piece.gates) {
      const int source = m.transposed ? g.slot : piece.operand, target = m.transposed ? piece.operand : g.slot;
      const Place<T>& from = b.places[source];
      Product<T>& q = w.products.emplace_back();
      q.a = from.copy(b.p);
      q.a_tile = from.array.tile();
      q.a_row = b.rows.first + row_of(w, from, b.p);
      q.a_step = b.rows.step;
      q.k = b.stage.program->slots[source].width;
      q.b = panel;
      q.b_row = b.part.wide;
      q.rows = static_cast<int>(b.rows.count);
      q.w = b.part.count;
      q.add = m.transposed && w.products.size() > 1;
      q.c = b.frame.pointers[target];
      q.c_row = b.frame.strides[target];
      begin(q, g.start, w.vectors + (w.products.size() - 1) * kTile, [&](int slot) {
        return std::pair<const T*, int64_t>(b.frame.pointers[slot], b.frame.strides[slot]);
      });
      panel += int64_t{q.k} * b.part.wide;
    }
    flush(w);
  }

  // The gradient that the user gives: of the output, or of a tap.
  const Steps& given(int index) const {
    static const Steps nothing{};
    const Gradients& g = *call_.gradients;
    return index == -1 ? g.dy : g.dtaps.empty() ? nothing : g.dtaps[-2 - index];
  }

  // Some rows of a part of it; to: rows `stride` apart.
  void fetch(const Steps& user, const Part& part, const Span& rows, int64_t p, T* to, int64_t stride) {
    for (int64_t i = 0, row = rows.first; i < rows.count; ++i, row += rows.step, to += stride)
      bring_in(part, to, user.data ? at(user, row, p) + part.unit() : nullptr);
  }

  // The same of a noise.
  void draw(int index, const Part& part, const Span& rows, int64_t p, T* to, int64_t stride) {
    const Noise& noise = call_.forward.noises[index];
    Chance chance = chance_of(call_.in.noise, call_.in.pass, index);
    for (int64_t i = 0, row = rows.first; i < rows.count; ++i, row += rows.step, to += stride) {
      chance.row = static_cast<uint32_t>(rows_.source(row));
      if (!noise.once) chance.time = static_cast<uint32_t>(call_.in.noise[1] + rows_.time(row, p));
      k_.draw(chance, part.tile, part.first, part.count, noise, to);
    }
  }

  // Before the step, where a product or a reduction reads it.
  void fetch_whole(Worker& w, const Span& rows, int64_t p) {
    for (size_t i = 0; i < bound_.second.places.size(); ++i) {
      const Slot& s = call_.backward->slots[i];
      const Place<T>& place = bound_.second.places[i];
      if (s.kind == Kind::gradient && s.index < 0 && place.how == How::by_row && rows.count > 0)
        each_part(w, s.width, [&](const Part& part) {
          fetch(given(s.index), part, rows, p, address(w, place, part, rows.first, p), int64_t{rows.step} * part.wide);
        });
    }
  }

  void store(Worker& w, const Block& b, const Store<T>& s) {
    const T* from = b.frame.pointers[s.slot];
    const int64_t stride = b.frame.strides[s.slot];
    if (!s.user) {
      T* to = address(w, s.place, b.part, b.rows.first, b.p);
      apply(Op::copy, to, int64_t{b.rows.step} * b.part.wide, from, stride, from, stride, b.rows.count, b.part.count);
      return;
    }
    for (int64_t i = 0, row = b.rows.first; i < b.rows.count; ++i, row += b.rows.step)
      hand_out(b.part, at(*s.user, row, b.p) + b.part.unit(), from + i * stride);
  }

  // ---- backward

  // The gradients of the final states, in both copies: a row joins at its own last step.
  void start_carries(Worker& w) {
    each_state(w, rows_.rows, [&](size_t k, const Part& part, int64_t row) {
      const T* given = static_cast<const T*>(call_.gradients->dfinals[k]);
      for (int copy = 0; copy < 2; ++copy)
        bring_in(part, address(w, bound_.carry[k], part, row, copy), given ? given + offset(k, part, row) : nullptr);
    });
  }

  void backward(Worker& w, int64_t p0, int64_t p1) {
    const auto& slots = call_.backward->slots;
    const bool reads_x = std::any_of(slots.begin(), slots.end(), [](const Slot& s) { return s.kind == Kind::raw; });
    for (int64_t c0 = p0 + (p1 - p0 - 1) / bound_.chunk * bound_.chunk; p1 > p0 && c0 >= p0; c0 -= bound_.chunk) {
      const int64_t c1 = std::min(c0 + bound_.chunk, p1);
      w.chunk_origin = rows_.offset(c0);
      gather(w, c0, c1);
      if (reads_x) sync_shared(w);
      for (int64_t p = c1 - 1; p >= c0; --p) {
        step(w, bound_.second, p);
        end_backward_step(w, p);
      }
      sync(w);
      input_gradients(w, c0, c1);
      sums(w, c0, c1);
      sync(w);
    }
  }

  // What the step passes to the states before it: nothing where it passed nothing, and to the fresh states where a reset cut.
  void end_backward_step(Worker& w, int64_t p) {
    if (!call_.in.resets && std::find(bound_.silent.begin(), bound_.silent.end(), true) == bound_.silent.end()) return;
    each_state(w, rows_.active(p), [&](size_t k, const Part& part, int64_t row) {
      T* carry = address(w, bound_.carry[k].flipped(), part, row, p);
      const bool cut = reset(row, p);
      if (bound_.silent[k]) bring_in(part, carry, nullptr);
      if (bound_.resets[k].sum) bring_in(part, address(w, bound_.resets[k].place, part, row, p), cut ? carry : nullptr);
      if (cut) bring_in(part, carry, nullptr);
    });
  }

  void input_gradients(Worker& w, int64_t c0, int64_t c1) {
    if (!call_.gradients->dx.data) return;
    for (int t = 0; t < tiles(call_.in.inputs); ++t) {
      int64_t p = c0;
      each_run(w, c0, c1, [&](int64_t first, int64_t count, int64_t step) {
        for (int64_t i = 0; i < count; i += kBlockRows)
          input_gradient(w, t, first + i * step, static_cast<int>(std::min<int64_t>(kBlockRows, count - i)), static_cast<int>(step), p);
      });
    }
  }

  // Of tile t at some positions; p goes along with them.
  void input_gradient(Worker& w, int t, int64_t first, int rows, int step, int64_t& p) {
    alignas(64) T made[kBlockRows * kTile];
    const int width = call_.in.inputs, wide = tile_width(width, t);
    for (const auto& group : call_.backward->input_products)
      for (const InputProduct& product : group) {
        const Array<T>& from = bound_.stashes[product.slot].array;
        const int depth = call_.backward->slots[product.slot].width;
        const T* panel = bound_.second.matrices[product.matrix] + t * kTile * int64_t{depth};
        w.products.push_back({from.data, from.tile(), first, step, depth, panel, wide, rows, wide, nullptr, 0, !w.products.empty(), made, wide});
      }
    if (w.products.empty()) std::fill(made, made + rows * wide, T{0});
    flush(w);
    if (bound_.raw.how != How::none) apply(Op::add, made, wide, made, wide, bound_.raw.array.at(t, first, wide), step * wide, rows, wide);
    for (int r = 0; r < rows; ++r) {
      const int64_t row = rows_.row_at(first + r * step + w.chunk_origin, p);
      std::memcpy(at(call_.gradients->dx, row, p) + t * kTile, made + r * wide, used(width, t) * sizeof(T));
    }
  }

  // The chunk's part of every sum over positions; a tile of a sum is one thread's, so no bit depends on how many there are.
  void sums(Worker& w, int64_t c0, int64_t c1) {
    const int64_t positions = rows_.offset(c1) - rows_.offset(c0);
    int64_t all = 0, task = 0;
    for (const Weight<T>& g : bound_.weights) all += int64_t{tiles(g.columns)} * tiles(g.rows);
    const int64_t first = share(all, w.index, w.size), last = share(all, w.index + 1, w.size);
    for (const Weight<T>& g : bound_.weights)
      for (int n = 0; n < tiles(g.columns); ++n)
        for (int m = 0; m < tiles(g.rows); ++m, ++task) {
          if (task < first || task >= last) continue;
          const int wide = tile_width(g.columns, n), tall = tile_width(g.rows, m);
          k_.outer(g.gate.array.at(m, 0, tall), tall, g.operand.array.at(n, row_of(w, g.operand, c0), wide), wide, positions,
                   used(g.rows, m), g.sum + n * kTile * int64_t{g.rows} + int64_t{m} * kTile * wide);
        }
    task = 0;
    for (const Column<T>& c : bound_.columns)
      for (int t = 0; t < tiles(c.width); ++t) {
        const int wide = tile_width(c.width, t);
        if (task++ % w.size == w.size - 1 - w.index) k_.column_sum(c.place.array.at(t, 0, wide), wide, positions, c.sum + t * kTile);
      }
  }

  // Sums and carries go out, exact widths.
  void finish(Worker& w) {
    const Gradients& wanted = *call_.gradients;
    each_state(w, rows_.rows, [&](size_t k, const Part& part, int64_t row) {
      T* to = static_cast<T*>(wanted.dstates[k]);
      if (to) hand_out(part, to + offset(k, part, row), address(w, bound_.carry[k].flipped(), part, row, 0));
    });
    clear_padding(w, wanted.dx, call_.in.inputs);
    clear_padding(w, wanted.taps, *call_.backward);
    for (size_t i = 0; i < wanted.dparams.size(); ++i)  // a parameter is one thread's
      if (wanted.dparams[i] && static_cast<int>(i) % w.size == w.index) finish_param(static_cast<int>(i));
    for (size_t k = 0; k < bound_.resets.size(); ++k) {
      const Column<T>& c = bound_.resets[k];
      T* to = static_cast<T*>(wanted.dfresh[k]);
      if (to && w.index == 0) bring_in({0, 0, 0, c.width, c.width}, to, c.sum);
    }
  }

  void finish_param(int index) {
    const Param& param = call_.forward.params[index];
    T* to = static_cast<T*>(call_.gradients->dparams[index]);
    std::fill(to, to + int64_t{param.rows} * param.columns, T{0});
    for (const Weight<T>& g : bound_.weights)
      for (int n = 0; n < tiles(g.columns) && g.out->index == index; ++n) {
        const int wide = tile_width(g.columns, n);
        const T* from = g.sum + n * kTile * int64_t{g.rows};
        T* at = to + int64_t{g.out->row} * g.columns + n * kTile;
        for (int m = 0; m < g.rows; ++m, from += wide, at += g.columns)
          for (int i = 0; i < used(g.columns, n); ++i) at[i] += from[i];
      }
    for (const Out& o : call_.backward->outs)
      if (o.type == Out::Type::vector && o.index == index) {
        const T* from = bound_.sum_of(o.slot);
        for (int i = 0; i < call_.backward->slots[o.slot].width; ++i) to[o.row + i] += from[i];
      }
  }

  const Call<T> call_;
  Rows rows_;
  const Kernels<T>& k_;
  Binding<T> bound_;
  Split split_ = Split::rows;
  Barrier barrier_;
  std::vector<Worker> team_;
  std::vector<std::unique_ptr<Run>> parts_;
  int threads_ = 1;
};

// Two runs on two or three threads have one each: no barrier, and each core its own weights.
template <class T>
void run(const std::vector<Call<T>>& calls, int threads) {
  if (calls.size() != 2 || threads < 2 || threads > 3) {
    for (const Call<T>& call : calls) {
      Run<T> one(call);
      one.prepare(threads);
      one.again();
    }
    return;
  }
  struct Pair {
    Run<T> first, second;
  } pair{Run<T>(calls[0]), Run<T>(calls[1])};
  pair.first.prepare(1);
  pair.second.prepare(1);
  parallel(pair.first.small() ? 1 : 2, [](void* data, int index, int size) {
    auto* p = static_cast<Pair*>(data);
    if (index == 0) p->first.thread(0, 1);
    if (index == size - 1) p->second.thread(0, 1);
  }, &pair);
}

template <class T>
class LiveRun final : public Live {
 public:
  LiveRun(const Program& program, Inputs in, Outputs out, int threads)
      : in_(std::move(in)), out_(std::move(out)), run_({program, nullptr, in_, &out_, nullptr, {}, nullptr}) {
    run_.prepare(threads, true);
  }
  void step(void* x, void* y) override {
    in_.x.data = x;
    out_.y.data = y;
    run_.again();
  }
  void run(const Inputs& in, const Outputs& out) override {
    in_.params = in.params;
    in_.states = in.states;
    out_.finals = out.finals;
    run_.read_vectors();
    step(in.x.data, out.y.data);
  }

 private:
  Inputs in_;
  Outputs out_;
  Run<T> run_;
};

}  // namespace

template <class T>
void run_forward(const std::vector<ForwardRun>& runs, int threads) {
  std::vector<Call<T>> calls;
  for (const ForwardRun& r : runs) calls.push_back({r.program, nullptr, r.in, &r.out, nullptr, r.plan, static_cast<T*>(r.reserve)});
  run(calls, threads);
}

template <class T>
void run_backward(const std::vector<BackwardRun>& runs, int threads) {
  std::vector<Call<T>> calls;
  for (const BackwardRun& r : runs)  // without segments the reserve is only read; with them only its borders are
    calls.push_back({r.forward, &r.backward, r.in, nullptr, &r.gradients, r.plan, static_cast<T*>(const_cast<void*>(r.reserve))});
  run(calls, threads);
}

template <class T>
void pack_weights(const Program& program, const Inputs& in, void* to) {
  Run<T>({program, nullptr, in, nullptr, nullptr, {}, nullptr}).pack_into(static_cast<T*>(to));
}

template <class T>
void draw_rows(const Noise& noise, int number, const int64_t* key, int64_t rows, int width, T* to) {
  Chance chance = chance_of(key, 0, number);
  alignas(64) T made[kTile];
  for (int64_t row = 0; row < rows; ++row)
    for (int t = 0; t < tiles(width); ++t) {
      chance.row = static_cast<uint32_t>(row);
      kernels<T>().draw(chance, t, 0, tile_width(width, t), noise, made);
      std::copy_n(made, used(width, t), to + row * width + t * kTile);
    }
}

template <class T>
std::unique_ptr<Live> make_live(const ForwardRun& run, int threads) {
  return std::make_unique<LiveRun<T>>(run.program, run.in, run.out, threads);
}

template void draw_rows<float>(const Noise&, int, const int64_t*, int64_t, int, float*);
template void draw_rows<double>(const Noise&, int, const int64_t*, int64_t, int, double*);
template std::unique_ptr<Live> make_live<float>(const ForwardRun&, int);
template std::unique_ptr<Live> make_live<double>(const ForwardRun&, int);
template void run_forward<float>(const std::vector<ForwardRun>&, int);
template void run_forward<double>(const std::vector<ForwardRun>&, int);
template void run_backward<float>(const std::vector<BackwardRun>&, int);
template void run_backward<double>(const std::vector<BackwardRun>&, int);
template void pack_weights<float>(const Program&, const Inputs&, void*);
template void pack_weights<double>(const Program&, const Inputs&, void*);

}  // namespace elman
