// The core as the Python module elman._native. Tensors come as addresses and sizes: the Python side owns and checks them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <mutex>

#include "arena.h"
#include "program.h"
#include "sequence.h"
#include "threads.h"

namespace nb = nanobind;
using namespace elman;

namespace {

// Takes whole numbers and addresses from a tuple, one after the other: far cheaper a call than named arguments.
class Numbers {
 public:
  explicit Numbers(nb::tuple all) : all_(std::move(all)) {}
  int64_t number() {
    if (at_ >= PyTuple_GET_SIZE(all_.ptr())) throw nb::type_error("too few numbers");
    const int64_t v = PyLong_AsLongLong(PyTuple_GET_ITEM(all_.ptr(), at_++));
    if (v == -1 && PyErr_Occurred()) throw nb::python_error();
    return v;
  }
  void* address() { return reinterpret_cast<void*>(number()); }
  Steps steps() { return {address(), number(), number()}; }
  std::vector<Steps> some_steps() {  // after how many there are
    std::vector<Steps> found(number());
    for (Steps& s : found) s = steps();
    return found;
  }
  template <class P>
  std::vector<P> addresses(size_t count) {
    std::vector<P> found(count);
    for (P& p : found) p = address();
    return found;
  }
  Inputs inputs(const Program& p) {
    return {.rows = number(),
            .steps = number(),
            .reverse = number() != 0,
            .lengths = static_cast<const int64_t*>(address()),
            .resets = static_cast<const uint8_t*>(address()),
            .x = steps(),
            .inputs = static_cast<int>(number()),
            .params = addresses<const void*>(p.params.size()),
            .states = addresses<const void*>(p.states.size()),
            .fresh = addresses<const void*>(p.states.size()),
            .noise = static_cast<const int64_t*>(address()),
            .pass = number()};
  }
  void end() const {
    if (at_ != PyTuple_GET_SIZE(all_.ptr())) throw nb::type_error("too many numbers");
  }

 private:
  nb::tuple all_;
  Py_ssize_t at_ = 0;
};

ForwardRun forward_run(const Program& program, Numbers n, int* threads) {
  ForwardRun run{program, n.inputs(program), {}, {}, nullptr};
  run.out.y = n.steps();
  run.out.finals = n.addresses<void*>(program.states.size());
  run.out.taps = n.some_steps();
  run.reserve = n.address();
  run.plan.segment = n.number();
  *threads = static_cast<int>(n.number());
  run.in.packed = n.address();
  n.end();
  return run;
}

BackwardRun backward_run(const Program& first, const Program& second, Numbers n, int* threads) {
  BackwardRun run{first, second, n.inputs(first), {}, {}, nullptr};
  Gradients& g = run.gradients;
  g.dy = n.steps();
  g.dfinals = n.addresses<const void*>(first.states.size());
  g.dx = n.steps();
  g.dparams = n.addresses<void*>(first.params.size());
  g.dstates = n.addresses<void*>(first.states.size());
  g.dfresh = n.addresses<void*>(first.states.size());
  g.dtaps = n.some_steps();
  g.taps = n.some_steps();
  run.reserve = n.address();
  run.plan.segment = n.number();
  *threads = static_cast<int>(n.number());
  n.end();
  return run;
}

void forward(const Program& program, bool wide, const nb::args& passes) {
  std::vector<ForwardRun> runs;
  int threads = 1;
  for (const auto pass : passes) runs.push_back(forward_run(program, Numbers(nb::cast<nb::tuple>(pass)), &threads));
  const nb::gil_scoped_release release;
  (wide ? run_forward<double> : run_forward<float>)(runs, threads);
}

void backward(const Program& first, const Program& second, bool wide, const nb::args& passes) {
  std::vector<BackwardRun> runs;
  int threads = 1;
  for (const auto pass : passes) runs.push_back(backward_run(first, second, Numbers(nb::cast<nb::tuple>(pass)), &threads));
  const nb::gil_scoped_release release;
  (wide ? run_backward<double> : run_backward<float>)(runs, threads);
}

void pack(const Program& program, bool wide, const nb::tuple& numbers, uintptr_t to) {
  Numbers n(numbers);
  const Inputs in = n.inputs(program);
  n.end();
  (wide ? pack_weights<double> : pack_weights<float>)(program, in, reinterpret_cast<void*>(to));
}

void draw(bool wide, const std::pair<double, double>& hit_and_miss, uint32_t threshold, const nb::tuple& numbers) {
  const Noise noise{true, threshold, hit_and_miss.first, hit_and_miss.second};
  Numbers n(numbers);
  const int number = static_cast<int>(n.number());
  const auto* key = static_cast<const int64_t*>(n.address());
  const int64_t rows = n.number();
  const int width = static_cast<int>(n.number());
  void* to = n.address();
  n.end();
  const nb::gil_scoped_release release;
  if (wide) {
    draw_rows(noise, number, key, rows, width, static_cast<double*>(to));
  } else {
    draw_rows(noise, number, key, rows, width, static_cast<float*>(to));
  }
}

// One step of some rows, again and again; it keeps the program and nothing else alive.
class LiveSteps {
 public:
  LiveSteps(const Program& program, bool wide, nb::tuple numbers) : program_(program) {
    int threads = 1;
    const ForwardRun run = forward_run(program, Numbers(std::move(numbers)), &threads);
    live_ = (wide ? make_live<double> : make_live<float>)(run, threads);
  }
  void step(uintptr_t x, uintptr_t y) {
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> alone(mutex_);  // its memory is one step's
    live_->step(reinterpret_cast<void*>(x), reinterpret_cast<void*>(y));
  }
  void run(nb::tuple addresses) {
    Numbers n(std::move(addresses));
    Inputs in;
    Outputs out;
    in.x.data = n.address();
    out.y.data = n.address();
    in.params = n.addresses<const void*>(program_.params.size());
    in.states = n.addresses<const void*>(program_.states.size());
    out.finals = n.addresses<void*>(program_.states.size());
    n.end();
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> alone(mutex_);
    live_->run(in, out);
  }

 private:
  const Program& program_;
  std::unique_ptr<Live> live_;
  std::mutex mutex_;
};

// What a training run leaves for its backward run, or packed weights.
class KeptMemory {
 public:
  explicit KeptMemory(size_t bytes) : memory_(take_memory(bytes)) {}
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  ~KeptMemory() { give_memory(memory_); }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(memory_.data); }

 private:
  const Memory memory_;
};

std::pair<int64_t, int64_t> plan(const Program& program, int64_t rows, int64_t steps, int inputs, bool separate, int item_bytes,
                                 int64_t budget_bytes) {
  const uint8_t some = 0;  // only that there are resets matters here
  const Inputs in{.rows = rows, .steps = steps, .resets = separate ? &some : nullptr, .x = {}, .inputs = inputs,
                  .params = {}, .states = {}, .fresh = {}};
  const Reserve r = plan_reserve(program, in, item_bytes, budget_bytes);
  return {r.numbers, r.segment};
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The native engine: step programs over sequences.";
  nb::set_leak_warnings(false);  // programs live as long as the process
  forget_pool_after_fork();
  nb::class_<Program>(m, "Program", "A parsed step program.").def("__init__", [](Program* at, const std::string& text) {
    new (at) Program(parse(text));
  });
  nb::class_<KeptMemory>(m, "Memory", "Memory(bytes): given back when the object goes.")
      .def(nb::init<size_t>())
      .def_prop_ro("address", &KeptMemory::address);
  nb::class_<LiveSteps>(m, "Live", "Live(program, double, numbers): the run of one step that `forward` would be, again and again.")
      .def(nb::init<const Program&, bool, nb::tuple>(), nb::keep_alive<1, 2>())
      .def("step", &LiveSteps::step, "step(address of x, address of y)")
      .def("run", &LiveSteps::run, "run((addresses of x, y, parameters, states or zeros, final states))");
  m.def("forward", &forward,
        "forward(program, double, numbers, ...): see Numbers in csrc/python.cpp for their order; passes given together run at once.");
  m.def("backward", &backward, "backward(forward, backward, double, numbers, ...)");
  m.def("packed_numbers", &packed_numbers, "packed_numbers(program): how many numbers its packed weights are.");
  m.def("pack", &pack, "pack(program, double, numbers of the inputs, address): packs the weights into memory of the caller.");
  m.def("draw", &draw, "draw(double, (hit, miss), threshold, (noise, address of the key, rows, width, address)): rows of a noise.");
  m.def("plan", &plan,
        "plan(forward, rows, steps, inputs, separate, item_bytes, budget_bytes) -> (numbers of the reserve, steps of a segment or 0)");
  m.def("instruction_sets", &instruction_sets, "Compiled in and supported by this processor, best first.");
  m.def("instructions", &instructions, "The instruction set in use.");
  m.def("set_instructions", &set_instructions, "Use another one of instruction_sets(), for tests.");
  m.def("peak", &peak, "peak(threads, seconds) -> floating point operations a second of a resident tile in single precision.");
  m.def("set_poison", [](bool on) { poison = on; }, "Fill scratch memory with NaN before use, for tests.");
}
