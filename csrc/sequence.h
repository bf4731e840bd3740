// A step program run over sequences, forward and backward. Knows pointers and sizes; nothing of Python or torch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace elman {

// Rows of steps of numbers, the numbers of one step lying side by side: [rows][steps][width], in any order of rows and steps.
struct Steps {
  void* data = nullptr;
  int64_t row = 0, step = 0;  // numbers from row to row, from step to step
};

// What a run reads. Every pointer lives until the run returns; none overlaps what is written.
struct Inputs {
  int64_t rows = 0, steps = 0;
  bool reverse = false;               // each row from its own end
  const int64_t* lengths = nullptr;   // [rows], 0..steps; null: all are `steps`
  const uint8_t* resets = nullptr;    // [rows][steps], not 0 where a row starts afresh before that step; null: nowhere
  Steps x;                            // [rows][steps][inputs]
  int inputs = 0;
  std::vector<const void*> params;    // as the program lists them, [rows][columns]
  std::vector<const void*> states;    // before the first step, [rows][width]; null: fresh ones
  std::vector<const void*> fresh;     // what a reset puts in their place, [width]; null: the program's initial value
  const int64_t* noise = nullptr;     // seed, first step, first pass; null where the program draws nothing
  int64_t pass = 0;                   // counted from the first
  const void* packed = nullptr;       // forward runs: what `pack_weights` made of the parameters; null: made by the run
};

struct Outputs {
  Steps y;                    // [rows][steps][output]; null: not wanted. Zero beyond a row's length
  std::vector<void*> finals;  // [rows][width]
  std::vector<Steps> taps{};  // [rows][steps][width], by number; empty: not wanted. Zero beyond a row's length
};

struct Gradients {
  Steps dy;                           // null: zero
  std::vector<const void*> dfinals;   // [rows][width]; null: zero
  Steps dx;                           // null: not wanted. Zero beyond a row's length
  std::vector<void*> dparams;         // [rows][columns]; null: not wanted
  std::vector<void*> dstates, dfresh; // [rows][width], [width]; null: not wanted
  std::vector<Steps> dtaps{};         // of what the forward run has tapped; empty: zero
  std::vector<Steps> taps{};          // what the backward program taps: the gradients of the states after each step
};

// What a training run leaves for its backward run, in one piece of memory.
struct Reserve {
  int64_t numbers = 0;  // its size
  int64_t segment = 0;  // steps that are run again at a time in the backward run; 0: nothing is, everything was kept
};

Reserve plan_reserve(const Program& forward, const Inputs& in, int64_t item_bytes, int64_t budget_bytes);

struct ForwardRun {
  const Program& program;
  Inputs in;
  Outputs out;
  Reserve plan;
  void* reserve;  // null: inference
};

struct BackwardRun {
  const Program &forward, &backward;
  Inputs in;
  Gradients gradients;
  Reserve plan;
  const void* reserve;
};

// Runs that have nothing to do with each other, such as two directions: at once where that is faster. Throw std::bad_alloc; nothing
// else. Type T is float or double.
template <class T>
void run_forward(const std::vector<ForwardRun>& runs, int threads);
template <class T>
void run_backward(const std::vector<BackwardRun>& runs, int threads);

// An inference run of one step for some rows, again and again: its memory is laid out once.
struct Live {
  virtual ~Live() = default;
  // Other x and y; the states go from `in.states` to `out.finals`, which may be the same memory. The weights stay, best packed.
  virtual void step(void* x, void* y) = 0;
  // Everything is elsewhere, the weights too: addresses alone are read, sizes and layouts are those of the first.
  virtual void run(const Inputs& in, const Outputs& out) = 0;
};
template <class T>
std::unique_ptr<Live> make_live(const ForwardRun& run, int threads);

// The weights of a forward program as the core multiplies by them, for many short runs: `packed_numbers` numbers, 64-byte aligned.
int64_t packed_numbers(const Program& program);
template <class T>
void pack_weights(const Program& program, const Inputs& in, void* to);

// Rows of a noise of some width as a step at time 0 draws them, [rows][width]; key: as Inputs::noise, with the pass in it.
template <class T>
void draw_rows(const Noise& noise, int number, const int64_t* key, int64_t rows, int width, T* to);

// The kernels' instruction set on this processor; `set_instructions` takes one of `instruction_sets()`.
std::vector<std::string> instruction_sets();
std::string instructions();
void set_instructions(const std::string& name);

// Fused multiply-adds of a resident tile on `threads` threads at once: floating point operations a second.
double peak(int threads, double seconds);

}  // namespace elman
