// A call's programs bound to memory: where every slot lies, and where the results of a step go.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "arena.h"
#include "layout.h"
#include "rows.h"

namespace elman {

template <class T>
struct Call {
  const Program& forward;
  const Program* backward;     // null: a forward run
  const Inputs& in;
  const Outputs* out;          // of a forward run
  const Gradients* gradients;  // of a backward run
  Reserve plan;
  T* reserve;                  // null: inference
};

template <class T>
struct Store {  // a result that is copied from its slot when its tile is done
  int slot;
  Place<T> place;
  const Steps* user;  // instead: to what the user wants by steps
};

template <class T>
struct Bound {  // a pass and the results that are copied when it is done
  const Pass* pass;
  std::vector<Store<T>> stores;
};

template <class T>
struct Stage {  // a program bound to memory
  const Program* program = nullptr;
  std::vector<Place<T>> places;               // by slot
  std::vector<std::vector<Bound<T>>> passes;  // by phase
  std::vector<T*> matrices;                   // packed; null: not needed
  int locals = 0;
};

template <class T>
struct Weight {  // the gradient of some rows of a matrix: [tile of columns][row][tile width]
  const Out* out;
  Place<T> gate, operand;
  T* sum;
  int rows, columns;
};

template <class T>
struct Column {  // a gradient that is a sum over positions; sum null: not wanted
  Place<T> place;
  int width;
  T* sum;
};

template <class T>
class Binding {
 public:
  Binding(const Call<T>& call, const Rows& rows)
      : keep(call.backward || (call.reserve && !call.plan.segment)), chunk(chunk_steps(call.forward, call.in)),
        segment(std::max<int64_t>(call.plan.segment ? call.plan.segment : rows.longest, 1)), call_(call), rows_(rows),
        chunk_rows_(rows.rows * std::min(chunk, std::max<int64_t>(rows.longest, 1))) {}

  // Memory for the packed matrices of a program; those for dx only where it is wanted.
  void make_matrices(Stage<T>& stage, const Program& program) {
    stage.program = &program;
    const bool given = !program.backward && call_.in.packed;
    T* next = given ? static_cast<T*>(const_cast<void*>(call_.in.packed)) : arena.take<T>(packed_numbers(program));
    for (const Matrix& m : program.matrices) {
      const bool needed = !program.backward || !m.input || call_.gradients->dx.data;
      stage.matrices.push_back(needed ? next : nullptr);
      next += m.size();
    }
  }

  void bind_forward() {
    const std::vector<State>& states = call_.forward.states;
    if (keep) {
      bind_kept();
    } else {
      for (const State& s : states) {
        before.push_back(in_turn(s.width));
        after.push_back(before.back().flipped());
      }
    }
    for (size_t k = 0; k < states.size(); ++k)
      fresh.push_back(filled(padded(states[k].width), states[k].initial, call_.in.fresh[k], states[k].width));
    x = by_chunk(call_.in.inputs);
    bind(first);
    place_results(first);
  }

  void bind_backward() {
    const Program& p = *call_.backward;
    make_matrices(second, p);
    stashes.resize(p.slots.size());
    for (const State& s : call_.forward.states) carry.push_back(in_turn(s.width));
    bind(second);
    place_results(second);
    silent.assign(carry.size(), true);
    for (const Out& o : p.outs) {
      if (o.type == Out::Type::carry) silent[o.index] = false;
      if (o.type == Out::Type::raw) raw = stash(o.slot);
      const bool wanted = (o.type == Out::Type::gate || o.type == Out::Type::vector) && call_.gradients->dparams[o.index];
      if (wanted && o.type == Out::Type::vector) sum_of(o.slot);
      if (wanted && o.type == Out::Type::gate) weights.push_back(weight(o));
    }
    for (size_t k = 0; k < carry.size(); ++k) {
      const int width = call_.forward.states[k].width;
      const bool wanted = call_.in.resets && call_.gradients->dfresh[k];
      resets.push_back({wanted ? by_chunk(width) : Place<T>{}, width, wanted ? arena.take<T>(padded(width)) : nullptr});
      if (wanted) columns.push_back(resets.back());
    }
  }

  // Vector parameters are copied when they are bound: once more.
  void read_vectors() {
    for (size_t i = 0; i < first.places.size(); ++i)
      if (first.program->slots[i].kind == Kind::vector) read_vector(first.program->slots[i], first.places[i]);
  }

  // The sum over positions of a slot of the backward program, [width].
  T* sum_of(int slot) {
    const Place<T> place = stash(slot);
    for (const Column<T>& c : columns)
      if (c.place.array.data == place.array.data) return c.sum;
    const int width = call_.backward->slots[slot].width;
    columns.push_back({place, width, arena.take<T>(padded(width))});
    return columns.back().sum;
  }

  Place<T> in_turn(int width) {
    const int64_t one = Array<T>::numbers(width, rows_.rows);
    return {.how = How::by_row, .array = {arena.take<T>(2 * one), rows_.rows}, .parity = one};
  }

  Arena arena;
  const bool keep;  // states and kept values of all positions of a segment
  const int64_t chunk, segment;  // steps
  Stage<T> first, second;        // forward, backward
  Place<T> x, raw;               // of a chunk; raw: what the step adds to the gradient of x
  std::vector<Place<T>> before, after, carry;  // by state: before and after a step, and the gradient
  std::vector<Place<T>> stashes;               // by slot of the backward program
  std::vector<const T*> fresh;                 // by state, padded: what a reset puts in its place
  std::vector<bool> silent;                    // states to which the backward step passes nothing
  std::vector<Weight<T>> weights;
  std::vector<Column<T>> columns, resets;      // resets: by state, those wanted also among the columns

 private:
  Place<T> by_chunk(int width) {
    return {.how = How::by_chunk, .array = {arena.take<T>(Array<T>::numbers(width, chunk_rows_)), chunk_rows_}};
  }

  // The reserve, or memory of one segment.
  void bind_kept() {
    const Program& p = call_.forward;
    const Inputs& in = call_.in;
    const int64_t positions = in.rows * std::min(segment, in.steps), more = shifted(in) ? in.rows : 0;
    T* cursor = call_.plan.segment ? arena.take<T>(kept_numbers(p, in, positions)) : call_.reserve;
    const auto next = [&](int width, int64_t rows) {
      const Array<T> a{cursor, rows};
      cursor += Array<T>::numbers(width, rows);
      return Place<T>{.how = How::by_segment, .array = a};
    };
    for (const State& s : p.states) {
      before.push_back(next(s.width, positions + more));
      after.push_back(more ? before.back() : next(s.width, positions));
      after.back().shift = more;
    }
    for (int width : p.kept) kept_.push_back(next(width, positions));
  }

  // `numbers` of them: the first `count` are those at `from`, the others `value`.
  T* filled(int numbers, double value, const void* from = nullptr, int count = 0) {
    T* v = arena.take<T>(numbers);
    std::fill(v, v + numbers, static_cast<T>(value));
    if (from) std::memcpy(v, from, count * sizeof(T));
    return v;
  }

  void bind(Stage<T>& stage) {
    for (const Slot& s : stage.program->slots) stage.places.push_back(place(stage, s));
    for (const Phase& phase : stage.program->phases) {
      stage.passes.emplace_back();
      for (const Pass& pass : phase.passes) stage.passes.back().push_back({&pass, {}});
    }
  }

  Place<T> place(Stage<T>& stage, const Slot& s) {
    switch (s.kind) {
      case Kind::raw: return x;
      case Kind::state: return before[s.index];
      case Kind::after: return after[s.index];
      case Kind::saved: return kept_[s.index];
      case Kind::vector: return vector(s);
      case Kind::constant: return {.how = How::vector, .array = {filled(kTile, s.value), 0}};
      case Kind::wide: return in_turn(s.width);
      case Kind::input: return by_chunk(s.width);
      case Kind::gradient:
        if (s.index >= 0) return carry[s.index];
        if (s.whole) return in_turn(s.width);
        [[fallthrough]];
      default: return {.how = How::local, .array = {nullptr, stage.locals++}};
    }
  }

  Place<T> vector(const Slot& s) {
    const Place<T> place{.how = How::vector, .array = {arena.take<T>(s.width == 1 ? kTile : padded(s.width)), s.width > 1}};
    read_vector(s, place);
    return place;
  }

  void read_vector(const Slot& s, const Place<T>& place) {
    const T* from = static_cast<const T*>(call_.in.params[s.index]) + s.row;
    T* to = place.array.data;
    if (s.width == 1) return std::fill(to, to + kTile, *from);
    std::memcpy(to, from, s.width * sizeof(T));
    std::fill(to + s.width, to + padded(s.width), T{0});
  }

  // Each result of the step is made where it is wanted; a second destination, or a leaf, is copied when its tile is done.
  void place_results(Stage<T>& stage) {
    const Program& p = *stage.program;
    std::vector<bool> housed(p.slots.size(), false);
    for (const Store<T>& s : wanted_results(p)) {
      const Slot& slot = p.slots[s.slot];
      if (!s.user && (s.place.how == How::none || s.place.array.data == stage.places[s.slot].array.data)) continue;
      if (slot.made && !s.user && !housed[s.slot]) {
        stage.places[s.slot] = s.place;
        housed[s.slot] = true;
      } else {
        stage.passes[slot.phase][slot.pass].stores.push_back(s);
      }
    }
  }

  std::vector<Store<T>> wanted_results(const Program& p) {
    std::vector<Store<T>> wanted;
    for (const Out& o : p.outs) {
      const bool leaves = o.type == Out::Type::y || o.type == Out::Type::tap;
      const Steps* user = leaves ? by_user(o, p) : nullptr;
      if (leaves && !(user && user->data)) continue;
      wanted.push_back({o.slot, destination(o), user});
      if (o.type == Out::Type::gate && o.operand >= 0 && !p.slots[o.operand].kept())
        wanted.push_back({o.operand, stash(o.operand), nullptr});
    }
    std::stable_partition(wanted.begin(), wanted.end(), [](const Store<T>& s) { return !s.user; });
    return wanted;
  }

  // Where the user wants y or a tap; null: nowhere.
  const Steps* by_user(const Out& o, const Program& p) const {
    if (!p.backward && !call_.out) return nullptr;
    if (o.type == Out::Type::y) return &call_.out->y;
    const std::vector<Steps>& taps = p.backward ? call_.gradients->taps : call_.out->taps;
    return taps.empty() ? nullptr : &taps[o.index];
  }

  Place<T> destination(const Out& o) {
    switch (o.type) {
      case Out::Type::state: return after[o.index];
      case Out::Type::keep: return keep ? kept_[o.index] : Place<T>{};
      case Out::Type::carry: return carry[o.index].flipped();
      case Out::Type::y:
      case Out::Type::tap: return {};
      default: return stash(o.slot);
    }
  }

  // Memory of a chunk for what is summed over positions, or multiplied, once the chunk's steps are done.
  Place<T> stash(int slot) {
    if (stashes[slot].how == How::none) stashes[slot] = by_chunk(call_.backward->slots[slot].width);
    return stashes[slot];
  }

  Weight<T> weight(const Out& o) {
    const Program& p = *call_.backward;
    const int rows = p.slots[o.slot].width, columns = p.params[o.index].columns;
    const Place<T> operand = o.operand < 0 ? x : p.slots[o.operand].kept() ? second.places[o.operand] : stash(o.operand);
    return {&o, stash(o.slot), operand, arena.take<T>(int64_t{rows} * padded(columns)), rows, columns};
  }

  const Call<T>& call_;
  const Rows& rows_;
  const int64_t chunk_rows_;
  std::vector<Place<T>> kept_;
};

}  // namespace elman
