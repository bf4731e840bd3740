#include "program.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <sstream>
#include <stdexcept>

namespace elman {
namespace {

constexpr std::array<const char*, static_cast<size_t>(Op::count)> kOps = {
    "add", "sub", "mul", "div", "neg", "fma", "fnma", "exp", "log", "sqrt", "rsqrt", "sigmoid", "tanh", "relu",
    "softplus", "abs", "max", "min", "lt", "le", "eq", "where", "normal", "copy", "spread"};

// One line of the text as words, taken from left to right.
class Words {
 public:
  Words(std::string line, int number) : line_(std::move(line)), number_(number), stream_(line_) {}

  std::string word() {
    std::string w;
    if (!(stream_ >> w)) fail("ends too early");
    return w;
  }
  bool more() { return static_cast<bool>(stream_ >> std::ws) && !stream_.eof(); }
  int integer() {
    const std::string w = word();
    char* end = nullptr;
    const long v = std::strtol(w.c_str(), &end, 10);
    if (*end != 0 || v < -1 || v > 1 << 30) fail("'" + w + "' is not a number in range");
    return static_cast<int>(v);
  }
  double real() {
    const std::string w = word();
    char* end = nullptr;
    const double v = std::strtod(w.c_str(), &end);
    if (*end != 0) fail("'" + w + "' is not a number");
    return v;
  }
  std::vector<int> integers() {
    std::vector<int> all;
    while (more()) all.push_back(integer());
    return all;
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw std::invalid_argument("step program, line " + std::to_string(number_) + ": " + why + ": " + line_);
  }

 private:
  std::string line_;
  int number_;
  std::istringstream stream_;
};

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  Program run() {
    Words head = next();
    if (head.word() != "elman-program" || head.integer() != 1) head.fail("not a step program of version 1");
    program_.backward = head.word() == "backward";
    program_.phases.emplace_back();
    while (text_.peek() != EOF) statement(next());
    finish();
    return std::move(program_);
  }

 private:
  Words next() {
    std::string line;
    if (!std::getline(text_, line)) throw std::invalid_argument("step program: ends too early");
    return Words(line, ++number_);
  }

  void statement(Words w) {
    const std::string what = w.word();
    if (what == "param") {
      const std::string name = w.word();
      const int rows = w.integer();
      program_.params.push_back({name, rows, w.integer()});
    } else if (what == "state") {
      const std::string name = w.word();
      const int width = w.integer();
      program_.states.push_back({name, width, w.real()});
    } else if (what == "slot") {
      program_.slots.push_back(slot(w));
    } else if (what == "before") {
      Before b{param(w), w.integer(), slot_index(w), {}};
      b.start = w.integers();
      program_.before.push_back(std::move(b));
    } else if (what == "phase") {
      program_.phases.emplace_back();
    } else if (what == "product") {
      product(w);
    } else if (what == "product_t") {
      product_t(w);
    } else if (what == "mean" || what == "sum" || what == "rstd") {
      using Type = Reduction::Type;
      const Type type = what == "mean" ? Type::mean : what == "sum" ? Type::sum : Type::rstd;
      const int source = slot_index(w), target = slot_index(w);
      program_.phases.back().reductions.push_back({type, source, target, type == Type::rstd ? w.real() : 0.0});
      program_.phases.back().whole = true;
    } else if (what == "strip") {
      strip(w);
    } else if (what == "out") {
      out(w);
    } else {
      w.fail("unknown statement '" + what + "'");
    }
  }

  Slot slot(Words& w) {
    static const std::map<std::string, Kind> kinds = {
        {"raw", Kind::raw}, {"state", Kind::state}, {"vector", Kind::vector}, {"const", Kind::constant},
        {"input", Kind::input}, {"local", Kind::local}, {"wide", Kind::wide}, {"gradient", Kind::gradient},
        {"saved", Kind::saved}, {"after", Kind::after}};
    const std::string name = w.word();
    const auto found = kinds.find(name);
    if (found == kinds.end()) w.fail("unknown kind of slot");
    Slot s{.kind = found->second};
    if (s.kind == Kind::constant) s.value = w.real();
    if (s.kind == Kind::gradient) {
      const std::string of = w.word();
      s.index = of == "y" ? -1 : std::atoi(of.c_str());
    } else if (s.kind == Kind::state || s.kind == Kind::vector || s.kind == Kind::saved || s.kind == Kind::after) {
      s.index = w.integer();
    }
    if (s.kind == Kind::vector) s.row = w.integer();
    s.width = w.integer();
    if (s.width < 1) w.fail("a width is at least 1");
    if (s.kind == Kind::vector && (s.index >= static_cast<int>(program_.params.size()) || s.index < 0))
      w.fail("no such parameter");
    if ((s.kind == Kind::state || s.kind == Kind::after || s.kind == Kind::gradient) &&
        s.index >= static_cast<int>(program_.states.size()))
      w.fail("no such state");
    return s;
  }

  int slot_index(Words& w) {
    const int i = w.integer();
    if (i < 0 || i >= static_cast<int>(program_.slots.size())) w.fail("no such slot");
    return i;
  }
  int param(Words& w) {
    const int i = w.integer();
    if (i < 0 || i >= static_cast<int>(program_.params.size())) w.fail("no such parameter");
    return i;
  }
  int width(int slot) const { return program_.slots[slot].width; }

  Pass& pass(int width) {
    auto& passes = program_.phases.back().passes;
    if (passes.empty() || passes.back().width != width) passes.push_back({width, {}, {}});
    return passes.back();
  }

  void product(Words& w) {
    const int p = param(w), source = slot_index(w), n = w.integer();
    std::vector<Gate> gates;
    for (int i = 0; i < n; ++i) {
      Words g = next();
      if (g.word() != "gate") g.fail("a gate is expected");
      const int row = g.integer();
      Gate gate{row, slot_index(g), {}};
      gate.start = g.integers();
      gates.push_back(std::move(gate));
    }
    while (!gates.empty()) {  // gates of one width are one piece
      const int wide = width(gates.front().target);
      Piece piece{.type = Piece::Type::product, .param = p, .operand = source};
      Matrix m{p, false, wide, {}, {}};
      std::vector<Gate> rest;
      for (Gate& g : gates) {
        if (width(g.target) != wide) {
          rest.push_back(std::move(g));
          continue;
        }
        m.rows.push_back(g.row);
        m.depths.push_back(program_.params[p].columns);
        piece.gates.push_back(std::move(g));
      }
      piece.packed = static_cast<int>(program_.matrices.size());
      program_.matrices.push_back(std::move(m));
      pass(wide).pieces.push_back(std::move(piece));
      gates = std::move(rest);
    }
    program_.phases.back().whole = true;
  }

  void product_t(Words& w) {
    const int p = param(w), target = slot_index(w), n = w.integer();
    Piece piece{.type = Piece::Type::product_t, .param = p, .operand = target};
    Matrix m{p, true, width(target), {}, {}};
    for (int i = 0; i < n; ++i) {
      Words f = next();
      if (f.word() != "from") f.fail("a source is expected");
      const int row = f.integer(), source = slot_index(f);
      m.rows.push_back(row);
      m.depths.push_back(width(source));
      piece.froms.push_back({row, source});
    }
    piece.packed = static_cast<int>(program_.matrices.size());
    program_.matrices.push_back(std::move(m));
    pass(width(target)).pieces.push_back(std::move(piece));
    program_.phases.back().whole = true;
  }

  void strip(Words& w) {
    const int wide = w.integer(), n = w.integer();
    Piece piece{.type = Piece::Type::strip};
    std::map<int, int> spread;  // a value of width 1 -> its copy in every unit, made once a strip
    for (int i = 0; i < n; ++i) {
      Words l = next();
      const std::string name = l.word();
      const auto op = std::find_if(kOps.begin(), kOps.end(), [&](const char* o) { return name == o; });
      if (op == kOps.end()) l.fail("unknown operation");
      Line line{static_cast<Op>(op - kOps.begin()), slot_index(l)};
      int* operands[] = {&line.a, &line.b, &line.c};
      int count = 0;
      while (l.more()) {
        if (count == 3) l.fail("an operation has at most three operands");
        *operands[count++] = slot_index(l);
      }
      if (width(line.target) != wide) l.fail("the target is not as wide as the strip");
      for (int k = 0; k < count; ++k) *operands[k] = wide_enough(*operands[k], wide, piece, spread, l);
      spread.erase(line.target);
      piece.lines.push_back(line);
    }
    pass(wide).pieces.push_back(std::move(piece));
  }

  int wide_enough(int slot, int wide, Piece& piece, std::map<int, int>& spread, const Words& l) {
    const Slot s = program_.slots[slot];
    if (s.width == wide || s.kind == Kind::constant || (s.kind == Kind::vector && s.width == 1)) return slot;
    if (s.width != 1) l.fail("an operand is neither as wide as the strip nor one number");
    if (const auto found = spread.find(slot); found != spread.end()) return found->second;
    const int copy = static_cast<int>(program_.slots.size());
    program_.slots.push_back({.kind = Kind::local, .width = wide});
    piece.lines.push_back({Op::spread, copy, slot});
    spread[slot] = copy;
    return copy;
  }

  void out(Words& w) {
    using Type = Out::Type;
    static const std::map<std::string, Type> types = {
        {"state", Type::state}, {"y", Type::y}, {"keep", Type::keep}, {"tap", Type::tap},
        {"carry", Type::carry}, {"gate", Type::gate}, {"raw", Type::raw}, {"vector", Type::vector}};
    const auto found = types.find(w.word());
    if (found == types.end()) w.fail("unknown result");
    Out o{.type = found->second};
    if (o.type != Type::y && o.type != Type::raw) o.index = w.integer();
    if (o.type == Type::gate || o.type == Type::vector) o.row = w.integer();
    o.slot = slot_index(w);
    if (o.type == Type::gate) o.operand = w.integer();
    if (o.operand >= static_cast<int>(program_.slots.size())) w.fail("no such slot");
    if (o.type == Type::y) program_.output = width(o.slot);
    if (o.type == Type::keep) {
      if (o.index != static_cast<int>(program_.kept.size())) w.fail("kept arrays come in order");
      program_.kept.push_back(width(o.slot));
    }
    program_.outs.push_back(o);
  }

  void finish() {
    for (const Slot& s : program_.slots)
      if (s.kind == Kind::raw) program_.inputs = s.width;
    int widest = 1;
    for (const Slot& s : program_.slots) widest = std::max(widest, s.width);
    for (const Out& o : program_.outs)
      if (width(o.slot) == 1 && widest > 1) program_.narrow_outputs = true;
    auto& phases = program_.phases;
    std::erase_if(phases, [](const Phase& p) { return p.passes.empty() && p.reductions.empty(); });
    for (Phase& phase : phases) {
      program_.any_product |= phase.whole;
      for (Pass& pass : phase.passes) touched(pass);
    }
  }

  static void touched(Pass& pass) {
    std::vector<int>& all = pass.slots;
    for (const Piece& piece : pass.pieces) {
      for (const Gate& g : piece.gates) {
        all.push_back(g.target);
        all.insert(all.end(), g.start.begin(), g.start.end());
      }
      if (piece.type == Piece::Type::product_t) all.push_back(piece.operand);
      for (const Line& l : piece.lines)
        for (int s : {l.target, l.a, l.b, l.c})
          if (s >= 0) all.push_back(s);
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
  }

  std::istringstream text_;
  int number_ = 0;
  Program program_;
};

}  // namespace

Program parse(const std::string& text) { return Parser(text).run(); }

}  // namespace elman
