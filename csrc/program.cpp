#include "program.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>

namespace elman {
namespace {

// What the text calls the values of Op, Kind, Out::Type and Reduction::Type, in their order.
#define ELMAN_TEXT(NAME, MEANING) #NAME,
constexpr const char* kOps[] = {ELMAN_OPERATIONS(ELMAN_TEXT)};
#undef ELMAN_TEXT
constexpr const char* kKinds[] = {"raw", "state", "vector", "const", "input", "local", "wide", "gradient", "saved", "after", "noise"};
constexpr const char* kOuts[] = {"state", "y", "keep", "tap", "carry", "gate", "raw", "vector"};
constexpr const char* kReductions[] = {"mean", "sum", "rstd"};

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
  bool skip(const char* expected) {
    const auto at = stream_.tellg();
    std::string w;
    if (stream_ >> w && w == expected) return true;
    stream_.clear();
    stream_.seekg(at);
    return false;
  }
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
  template <class Thing>
  int index_in(const std::vector<Thing>& all, const char* what) {
    const int i = integer();
    if (i < 0 || i >= static_cast<int>(all.size())) fail(std::string("no such ") + what);
    return i;
  }
  template <class Enum, size_t N>
  Enum one_of(const char* const (&names)[N]) {
    const std::string w = word();
    const auto found = std::find(std::begin(names), std::end(names), w);
    if (found == std::end(names)) fail("unknown word '" + w + "'");
    return static_cast<Enum>(found - names);
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
    if (what == "param") return program_.params.push_back({w.word(), w.integer(), w.integer()});
    if (what == "state") return program_.states.push_back({w.word(), w.integer(), w.real()});
    if (what == "noise") return noise(w);
    if (what == "slot") return program_.slots.push_back(slot(w));
    if (what == "before") return before(w);
    if (what == "phase") return program_.phases.push_back({});
    if (what == "product") return product(w);
    if (what == "product_t") return product_t(w);
    if (what == "strip") return strip(w);
    if (what == "out") return out(w);
    for (size_t i = 0; i < std::size(kReductions); ++i)
      if (what == kReductions[i]) return reduction(w, static_cast<Reduction::Type>(i));
    w.fail("unknown statement '" + what + "'");
  }

  int slot_index(Words& w) { return w.index_in(program_.slots, "slot"); }
  int param(Words& w) { return w.index_in(program_.params, "parameter"); }
  int width(int slot) const { return program_.slots[slot].width; }
  std::vector<int> slot_indices(Words& w) {
    std::vector<int> all;
    while (w.more()) all.push_back(slot_index(w));
    return all;
  }

  Slot slot(Words& w) {
    Slot s{.kind = w.one_of<Kind>(kKinds)};
    switch (s.kind) {
      case Kind::constant: s.value = w.real(); break;
      case Kind::vector:
        s.index = param(w);
        s.row = w.integer();
        break;
      case Kind::state:
      case Kind::after: s.index = w.index_in(program_.states, "state"); break;
      case Kind::saved: s.index = w.integer(); break;
      case Kind::noise: s.index = w.index_in(program_.noises, "noise"); break;
      case Kind::gradient: s.index = w.skip("y") ? -1 : w.skip("tap") ? -2 - w.integer() : w.index_in(program_.states, "state"); break;
      default: break;
    }
    s.width = w.integer();
    if (s.width < 1) w.fail("a width is at least 1");
    return s;
  }

  void noise(Words& w) {
    const bool once = w.skip("sequence");
    if (!once && !w.skip("step")) w.fail("noise is drawn at each step or once a sequence");
    program_.noises.push_back({once, static_cast<uint32_t>(w.real()), w.real(), w.real()});
  }

  void before(Words& w) {
    const int p = param(w), row = w.integer(), target = slot_index(w);
    InputProduct product{target, static_cast<int>(program_.matrices.size()), slot_indices(w)};
    program_.matrices.push_back({p, false, true, width(target), {row}, {program_.params[p].columns}});
    auto& groups = program_.input_products;
    const bool joins = !groups.empty() && std::none_of(groups.back().begin(), groups.back().end(), [&](const InputProduct& other) {
      return width(other.slot) != width(target) || std::count(product.start.begin(), product.start.end(), other.slot);
    });
    if (!joins) groups.emplace_back();
    groups.back().push_back(std::move(product));
  }

  void reduction(Words& w, Reduction::Type type) {
    const int source = slot_index(w), target = slot_index(w);
    program_.phases.back().reductions.push_back({type, source, target, type == Reduction::Type::rstd ? w.real() : 0.0});
    program_.phases.back().whole = true;
    program_.slots[source].whole = true;
  }

  Pass& pass(int width) {
    auto& passes = program_.phases.back().passes;
    if (passes.empty() || passes.back().width != width) passes.push_back({width, {}, {}});
    return passes.back();
  }

  void product(Words& w) {
    const int p = param(w), source = slot_index(w);
    std::vector<Gate> all = gates(w, "gate");
    while (!all.empty()) {  // gates of one width are one piece
      const int wide = width(all.front().slot);
      const auto rest = std::stable_partition(all.begin(), all.end(), [&](const Gate& g) { return width(g.slot) == wide; });
      add({.type = Piece::Type::product, .operand = source, .gates = {all.begin(), rest}}, p, wide);
      all.erase(all.begin(), rest);
    }
  }

  void product_t(Words& w) {
    const int p = param(w), target = slot_index(w);
    add({.type = Piece::Type::product_t, .operand = target, .gates = gates(w, "from")}, p, width(target));
  }

  std::vector<Gate> gates(Words& w, const std::string& name) {
    std::vector<Gate> all;
    for (int n = w.integer(); n > 0; --n) {
      Words g = next();
      if (g.word() != name) g.fail("a " + name + " is expected");
      all.push_back({g.integer(), slot_index(g), slot_indices(g)});
    }
    return all;
  }

  void add(Piece piece, int param, int wide) {
    const bool transposed = piece.type == Piece::Type::product_t;
    Matrix m{param, transposed, false, wide};
    for (const Gate& g : piece.gates) {
      m.rows.push_back(g.row);
      m.depths.push_back(transposed ? width(g.slot) : program_.params[param].columns);
      program_.slots[transposed ? g.slot : piece.operand].whole = true;
    }
    piece.matrix = static_cast<int>(program_.matrices.size());
    program_.matrices.push_back(std::move(m));
    pass(wide).pieces.push_back(std::move(piece));
    program_.phases.back().whole = true;
  }

  void strip(Words& w) {
    const int wide = w.integer();
    Piece piece{.type = Piece::Type::strip};
    std::map<int, int> spread;  // a value of width 1 -> its copy in every unit, made once a strip
    for (int n = w.integer(); n > 0; --n) {
      Words l = next();
      Line line{l.one_of<Op>(kOps), slot_index(l), {}};
      if (width(line.target) != wide) l.fail("the target is not as wide as the strip");
      const std::vector<int> operands = slot_indices(l);
      if (operands.empty() || operands.size() > 3) l.fail("an operation has one to three operands");
      for (size_t k = 0; k < 3; ++k)
        line.from[k] = k < operands.size() ? wide_enough(operands[k], wide, piece, spread, l) : line.from[0];
      spread.erase(line.target);
      piece.lines.push_back(line);
    }
    pass(wide).pieces.push_back(std::move(piece));
  }

  int wide_enough(int slot, int wide, Piece& piece, std::map<int, int>& spread, const Words& l) {
    const Slot s = program_.slots[slot];
    if (s.width == wide || s.kind == Kind::constant || (s.kind == Kind::vector && s.width == 1)) return slot;
    if (s.width != 1) l.fail("an operand is neither as wide as the strip nor one number");
    const auto [found, is_new] = spread.try_emplace(slot, static_cast<int>(program_.slots.size()));
    if (is_new) {
      program_.slots.push_back({.kind = Kind::local, .width = wide});
      piece.lines.push_back({Op::spread, found->second, {slot, slot, slot}});
    }
    return found->second;
  }

  void out(Words& w) {
    using Type = Out::Type;
    Out o{.type = w.one_of<Type>(kOuts)};
    const bool of_parameter = o.type == Type::gate || o.type == Type::vector;
    if (o.type != Type::y && o.type != Type::raw) o.index = of_parameter ? param(w) : w.integer();
    if (of_parameter) o.row = w.integer();
    o.slot = slot_index(w);
    if (o.type == Type::gate) o.operand = w.integer();
    if (o.operand >= static_cast<int>(program_.slots.size())) w.fail("no such slot");
    if (o.type == Type::y) program_.output = width(o.slot);
    if (o.type == Type::keep) {
      if (o.index != static_cast<int>(program_.kept.size())) w.fail("kept arrays come in order");
      program_.kept.push_back(width(o.slot));
    }
    if (o.type == Type::gate && o.operand < 0) {  // it has multiplied x: its part of the gradient of x
      program_.input_products.resize(1);
      program_.input_products[0].push_back({o.slot, static_cast<int>(program_.matrices.size()), {}});
      program_.matrices.push_back({o.index, true, true, program_.params[o.index].columns, {o.row}, {width(o.slot)}});
    }
    program_.outs.push_back(o);
  }

  void finish() {
    int widest = 1;
    for (const Slot& s : program_.slots) widest = std::max(widest, s.width);
    for (const Out& o : program_.outs) program_.narrow_outputs |= width(o.slot) == 1 && widest > 1;
    auto& phases = program_.phases;
    std::erase_if(phases, [](const Phase& p) { return p.passes.empty() && p.reductions.empty(); });
    for (size_t i = 0; i < phases.size(); ++i)
      for (size_t j = 0; j < phases[i].passes.size(); ++j) note_slots(static_cast<int>(i), static_cast<int>(j));
    if (phases.empty()) phases.emplace_back();
    for (const Out& o : program_.outs) {
      copy_leaf(o.slot);
      if (o.operand >= 0 && !program_.slots[o.operand].kept()) copy_leaf(o.operand);
    }
  }

  // A leaf among the results is copied by a pass of its width at the very end.
  void copy_leaf(int slot) {
    Slot& s = program_.slots[slot];
    if (s.made) return;
    pass(s.width);
    s.phase = static_cast<int>(program_.phases.size()) - 1;
    s.pass = static_cast<int>(program_.phases.back().passes.size()) - 1;
  }

  void note_slots(int phase, int number) {
    Pass& pass = program_.phases[phase].passes[number];
    std::vector<int>& all = pass.slots;
    const auto made = [&](int slot) {
      Slot& s = program_.slots[slot];
      s.made = true;
      s.phase = phase;
      s.pass = number;
      all.push_back(slot);
    };
    for (const Piece& piece : pass.pieces) {
      if (piece.type == Piece::Type::product_t) made(piece.operand);
      for (const Gate& g : piece.gates) {
        if (piece.type == Piece::Type::product) made(g.slot);
        all.insert(all.end(), g.start.begin(), g.start.end());
      }
      for (const Line& l : piece.lines) {
        made(l.target);
        all.insert(all.end(), std::begin(l.from), std::end(l.from));
      }
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
