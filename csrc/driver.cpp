// The core without Python, for sanitizers, other processors and profiles:
//   elman_driver FOLDER            runs every NAME_forward.txt with its NAME_backward.txt there, in many shapes, and checks that bits do
//                                  not depend on threads, memory or company, and that instruction sets agree; exit code 1 where not
//   elman_driver FORWARD BACKWARD ROWS STEPS THREADS SECONDS      times one pair (BACKWARD "-": inference)
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "arena.h"
#include "sequence.h"

using namespace elman;

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

template <class T>
using Numbers = std::vector<T>;

// One problem: everything a run reads, and room for everything it writes.
template <class T>
struct Problem {
  const Program& forward;
  const Program* backward;
  int64_t rows, steps;
  int inputs;
  std::mt19937_64 random{1};
  Numbers<T> x, y, dy, dx;
  std::vector<Numbers<T>> params, states, fresh, finals, dparams, dstates, dfresh, taps, dtaps, gradient_taps;
  int64_t key[3] = {int64_t{1} << 40, 0, 2};  // of noise
  Numbers<int64_t> lengths;
  Numbers<uint8_t> resets;
  Numbers<T> reserve;

  // Room for what a program taps, [rows][steps][width] each.
  std::vector<Numbers<T>> room_for_taps(const Program& p) const {
    std::vector<Numbers<T>> room;
    for (const Out& o : p.outs)
      if (o.type == Out::Type::tap) room.emplace_back(rows * steps * p.slots[o.slot].width);
    return room;
  }

  std::vector<Steps> by_steps(std::vector<Numbers<T>>& room) const {
    std::vector<Steps> all;
    for (auto& r : room) {
      const int64_t width = static_cast<int64_t>(r.size()) / (rows * steps);
      all.push_back({r.data(), steps * width, width});
    }
    return all;
  }

  static int width_of_x(const Program& f) {
    return f.params[f.input_products.empty() ? 0 : f.matrices[f.input_products[0][0].matrix].param].columns;
  }

  Problem(const Program& f, const Program* b, int64_t rows, int64_t steps, bool ragged, bool cut)
      : forward(f), backward(b), rows(rows), steps(steps), inputs(width_of_x(f)) {
    x = filled(rows * steps * inputs, 1);
    dy = filled(rows * steps * f.output, 1);
    y.resize(rows * steps * f.output);
    taps = room_for_taps(f);
    if (b) gradient_taps = room_for_taps(*b);
    for (const auto& t : taps) dtaps.push_back(filled(static_cast<int64_t>(t.size()), 1));
    dx.resize(x.size());
    for (const Param& p : f.params) {
      params.push_back(filled(int64_t{p.rows} * p.columns, 0.7 / std::sqrt(p.columns)));
      dparams.emplace_back(params.back().size());
    }
    for (const State& s : f.states) {
      states.push_back(filled(rows * s.width, 1));
      fresh.push_back(filled(s.width, 1));
      finals.emplace_back(rows * s.width);
      dstates.emplace_back(rows * s.width);
      dfresh.emplace_back(s.width);
    }
    if (ragged)
      for (int64_t r = 0; r < rows; ++r) lengths.push_back(r == 0 ? 0 : static_cast<int64_t>(random() % (steps + 1)));
    if (cut)
      for (int64_t i = 0; i < rows * steps; ++i) resets.push_back(random() % 5 == 0);
  }

  Numbers<T> filled(int64_t n, double scale) {
    std::normal_distribution<double> normal(0, scale);
    Numbers<T> v(n);
    for (T& e : v) e = static_cast<T>(normal(random));
    return v;
  }

  Inputs in(int64_t row, int64_t count, bool reverse) const {
    Inputs i;
    i.rows = count;
    i.steps = steps;
    i.reverse = reverse;
    i.lengths = lengths.empty() ? nullptr : lengths.data() + row;
    i.resets = resets.empty() ? nullptr : resets.data() + row * steps;
    i.x = {const_cast<T*>(x.data()) + row * steps * inputs, steps * inputs, inputs};
    i.inputs = inputs;
    i.noise = key;
    for (const auto& p : params) i.params.push_back(p.data());
    for (size_t k = 0; k < states.size(); ++k) {
      i.states.push_back(states[k].data() + row * forward.states[k].width);
      i.fresh.push_back(fresh[k].data());
    }
    return i;
  }

  // Rows [row, row + count).
  void compute(int64_t row, int64_t count, bool reverse, int threads, int64_t budget) {
    const Inputs i = in(row, count, reverse);
    Outputs o;
    o.y = {y.data(), steps * forward.output, forward.output};
    for (auto& f : finals) o.finals.push_back(f.data());
    o.taps = by_steps(taps);
    const Reserve plan = backward ? plan_reserve(forward, i, sizeof(T), budget) : Reserve{};
    reserve.resize(plan.numbers + 16);
    void* aligned = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(reserve.data()) + 63) / 64 * 64);
    run_forward<T>({{forward, i, o, plan, backward ? aligned : nullptr}}, threads);
    if (!backward) return;
    Gradients g;
    g.dy = {dy.data() + row * steps * forward.output, steps * forward.output, forward.output};
    g.dx = {dx.data(), steps * inputs, inputs};
    g.dfinals.assign(finals.size(), nullptr);
    for (auto& v : dparams) g.dparams.push_back(v.data());
    for (auto& v : dstates) g.dstates.push_back(v.data());
    for (auto& v : dfresh) g.dfresh.push_back(v.data());
    g.dtaps = by_steps(dtaps);
    for (size_t k = 0; k < g.dtaps.size(); ++k) g.dtaps[k].data = dtaps[k].data() + row * g.dtaps[k].row;
    g.taps = by_steps(gradient_taps);
    run_backward<T>({{forward, *backward, i, g, plan, aligned}}, threads);
  }

  // The outputs and final states of one step a call, the states where they are, the weights packed once or by every call.
  std::vector<Numbers<T>> live(bool packed, int threads) {
    Inputs i = in(0, rows, false);
    Outputs o;
    Numbers<T> now(rows * inputs), made(rows * forward.output), weights(packed_numbers(forward) + 16);
    std::vector<Numbers<T>> all{Numbers<T>(rows * steps * forward.output)};
    all.insert(all.end(), states.begin(), states.end());
    i.steps = 1;
    i.x = {now.data(), inputs, inputs};
    o.y = {made.data(), forward.output, forward.output};
    for (size_t k = 0; k < states.size(); ++k) o.finals.push_back(all[k + 1].data());
    i.states.assign(o.finals.begin(), o.finals.end());
    if (packed) {
      void* aligned = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(weights.data()) + 63) / 64 * 64);
      pack_weights<T>(forward, i, aligned);
      i.packed = aligned;
    }
    const std::unique_ptr<Live> run = make_live<T>({forward, i, o, {}, nullptr}, threads);
    for (int64_t t = 0; t < steps; ++t) {
      key[1] = t;
      for (int64_t r = 0; r < rows; ++r) std::copy_n(x.data() + (r * steps + t) * inputs, inputs, now.data() + r * inputs);
      packed ? run->step(now.data(), made.data()) : run->run(i, o);
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(made.data() + r * forward.output, forward.output, all[0].data() + (r * steps + t) * forward.output);
    }
    key[1] = 0;
    return all;
  }

  // As `compute`; every result in one list.
  std::vector<Numbers<T>> run(int64_t row, int64_t count, bool reverse, int threads, int64_t budget) {
    compute(row, count, reverse, threads, budget);
    std::vector<Numbers<T>> all{{y.begin(), y.begin() + count * steps * forward.output}};
    for (size_t k = 0; k < finals.size(); ++k) all.emplace_back(finals[k].begin(), finals[k].begin() + count * forward.states[k].width);
    for (const auto& t : taps) all.emplace_back(t.begin(), t.begin() + static_cast<int64_t>(t.size()) / rows * count);
    if (!backward) return all;
    for (const auto& t : gradient_taps) all.emplace_back(t.begin(), t.begin() + static_cast<int64_t>(t.size()) / rows * count);
    all.emplace_back(dx.begin(), dx.begin() + count * steps * inputs);
    for (size_t k = 0; k < finals.size(); ++k) all.emplace_back(dstates[k].begin(), dstates[k].begin() + count * forward.states[k].width);
    if (count == rows) {  // sums over all rows: comparable between whole runs only
      all.insert(all.end(), dparams.begin(), dparams.end());
      all.insert(all.end(), dfresh.begin(), dfresh.end());
    }
    return all;
  }
};

template <class T>
bool equal(const std::vector<Numbers<T>>& a, const std::vector<Numbers<T>>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].size() != b[i].size() || (!a[i].empty() && std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(T)))) return false;
  return true;
}

template <class T>
double difference(const std::vector<Numbers<T>>& a, const std::vector<Numbers<T>>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double scale = 1, most = 0;
    for (size_t j = 0; j < a[i].size(); ++j) {
      scale = std::max(scale, std::abs(static_cast<double>(b[i][j])));
      if (!std::isfinite(a[i][j]) && !std::isfinite(b[i][j])) continue;  // random decays above 1 outgrow every format
      const double d = std::abs(static_cast<double>(a[i][j]) - static_cast<double>(b[i][j]));
      most = d <= most ? most : d;  // NaN stays
      if (std::isnan(d)) return d;
    }
    worst = std::max(worst, most / scale);
  }
  return worst;
}

// The row's part of the results of all rows, as a run of that row alone lists them.
template <class T>
std::vector<Numbers<T>> part(const std::vector<Numbers<T>>& all, size_t like, int64_t row, int64_t rows) {
  std::vector<Numbers<T>> found;
  for (size_t i = 0; i < like; ++i) {
    const size_t n = all[i].size() / rows;
    found.emplace_back(all[i].begin() + row * n, all[i].begin() + (row + 1) * n);
  }
  return found;
}

int failures = 0;

void check(bool ok, const std::string& name, const char* what, int64_t rows, int64_t steps) {
  if (ok) return;
  ++failures;
  std::printf("FAILED %s: %s (rows %lld, steps %lld)\n", name.c_str(), what, static_cast<long long>(rows), static_cast<long long>(steps));
}

template <class T>
void check_all(const std::string& name, const Program& forward, const Program& backward) {
  const double tolerance = sizeof(T) == 8 ? 1e-11 : 2e-3;
  for (const auto& [rows, steps] : {std::pair<int64_t, int64_t>{1, 1}, {1, 300}, {5, 9}, {14, 40}, {33, 60}})
    for (int mode = 0; mode < 8; ++mode) {
      Problem<T> p(forward, &backward, rows, steps, mode & 1, mode & 2);
      const bool reverse = mode & 4;
      const int64_t plenty = int64_t{1} << 40;
      const auto first = p.run(0, rows, reverse, 1, plenty);
      check(equal(first, p.run(0, rows, reverse, 2, plenty)), name, "two threads change bits", rows, steps);
      check(equal(first, p.run(0, rows, reverse, 3, 0)), name, "no memory changes bits", rows, steps);
      for (const bool packed : {false, true})
        if (mode == 0) check(equal(p.live(packed, 2), first), name, "one step a call changes bits", rows, steps);
      const auto alone = p.run(rows / 2, 1, reverse, 1, plenty);
      if (rows > 1 && forward.noises.empty()) check(equal(part(first, alone.size(), rows / 2, rows), alone), name, "company changes bits", rows, steps);
      const std::string best = instructions();
      for (const std::string& set : instruction_sets()) {
        set_instructions(set);
        check(difference(first, p.run(0, rows, reverse, 2, plenty)) < tolerance, name + " " + set, "instruction sets disagree", rows, steps);
      }
      set_instructions(best);
    }
}

void time_one(char** a) {
  const Program forward = parse(read(a[1]));
  const bool train = std::strcmp(a[2], "-") != 0;
  const Program backward = train ? parse(read(a[2])) : Program{};
  Problem<float> p(forward, train ? &backward : nullptr, std::atoll(a[3]), std::atoll(a[4]), false, false);
  const int threads = std::atoi(a[5]);
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  double best = 1e30;
  for (const auto start = Clock::now(); seconds(start) < std::atof(a[6]);) {
    const auto from = Clock::now();
    p.compute(0, p.rows, false, threads, int64_t{1} << 40);
    best = std::min(best, seconds(from));
  }
  std::printf("%.4f ms at best\n", best * 1e3);
}

}  // namespace

int main(int count, char** a) {
  if (count == 7) {
    time_one(a);
    return 0;
  }
  if (count != 2) {
    std::fprintf(stderr, "elman_driver FOLDER, or FORWARD BACKWARD ROWS STEPS THREADS SECONDS\n");
    return 2;
  }
  poison = true;
  int programs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(a[1])) {
    const std::string path = entry.path().string(), end = "_forward.txt";
    if (!path.ends_with(end)) continue;
    const std::string name = entry.path().filename().string();
    const Program forward = parse(read(path)), backward = parse(read(path.substr(0, path.size() - end.size()) + "_backward.txt"));
    check_all<float>(name, forward, backward);
    check_all<double>(name, forward, backward);
    ++programs;
  }
  std::printf("%d programs on %s, %d failures\n", programs, instructions().c_str(), failures);
  return failures || programs == 0;
}
