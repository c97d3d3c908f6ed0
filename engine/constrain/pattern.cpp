#include "engine/constrain/pattern.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Edge = PatternNfa::Edge;

constexpr int kMaxNesting = 64;

absl::Status Unsupported(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the pattern has ", std::string(what), ", which is not supported"));
}

const CodePoints& Digit() {
  static const CodePoints set{{'0', '9'}};
  return set;
}
const CodePoints& Word() {
  static const CodePoints set{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return set;
}
const CodePoints& Space() {
  static const CodePoints set{{'\t', '\r'}, {' ', ' '}};
  return set;
}
// What every dialect calls not a digit, not a letter: where they differ is beyond ASCII.
CodePoints AsciiWithout(const CodePoints& set) { return set.Inverse().Intersected({{0, 0x7f}}); }
const CodePoints& NotSpace() {
  static const CodePoints set = CodePoints{{0, ' '},         {0x7f, 0xa0},     {0x1680, 0x1680},
                                           {0x180e, 0x180e}, {0x2000, 0x200f}, {0x2028, 0x202f},
                                           {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}}
                                    .Inverse();
  return set;
}
const CodePoints& Dot() {
  static const CodePoints set =
      CodePoints{{'\n', '\n'}, {'\r', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}}.Inverse();
  return set;
}

// Builds the automaton while it reads. A piece of the pattern lies between two states; what is
// repeated is read again.
class Parser {
 public:
  Parser(std::string_view pattern, const PatternLimits& limits)
      : pattern_(pattern), limits_(limits) {}

  absl::StatusOr<PatternNfa> Parse() {
    const int32_t start = State();
    AddChars(start, start, Any());
    TANDEM_ASSIGN_OR_RETURN(const int32_t end, Alternatives(start));
    if (!AtEnd()) return absl::InvalidArgumentError("the pattern closes a group that is not open");
    const int32_t accept = State();
    AddEmpty(end, accept);
    // Behind "$" nothing may follow: those who come through it reach `accept` at the very end only.
    AddChars(accept, accept, Any());
    nfa_.accept = accept;
    return std::move(nfa_);
  }

 private:
  bool AtEnd() const { return at_ >= pattern_.size(); }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool Take(char c) {
    if (AtEnd() || Peek() != c) return false;
    ++at_;
    return true;
  }

  int32_t State() {
    nfa_.arcs.emplace_back();
    return static_cast<int32_t>(nfa_.arcs.size()) - 1;
  }
  void AddEmpty(int32_t from, int32_t to) { nfa_.arcs[from].push_back({Edge::kEmpty, to}); }
  void AddChars(int32_t from, int32_t to, const CodePoints& set) {
    nfa_.sets.push_back(set.Intersected(CodePoints::OfJson()));
    nfa_.arcs[from].push_back({Edge::kChars, to, static_cast<int32_t>(nfa_.sets.size()) - 1});
  }
  static const CodePoints& Any() { return CodePoints::OfJson(); }

  // Each reads a part of the pattern from `from` on and returns where it ends.
  absl::StatusOr<int32_t> Alternatives(int32_t from) {
    if (++nesting_ > kMaxNesting) return Unsupported("groups nested too deeply");
    const int32_t end = State();
    do {
      TANDEM_ASSIGN_OR_RETURN(const int32_t part, Sequence(from));
      AddEmpty(part, end);
    } while (Take('|'));
    --nesting_;
    return end;
  }

  absl::StatusOr<int32_t> Sequence(int32_t at) {
    while (!AtEnd() && Peek() != '|' && Peek() != ')') {
      TANDEM_ASSIGN_OR_RETURN(at, Quantified(at));
      if (static_cast<int32_t>(nfa_.arcs.size()) > limits_.max_states)
        return absl::InvalidArgumentError("the pattern is too large, with its repetitions");
    }
    return at;
  }

  absl::StatusOr<int32_t> Quantified(int32_t from) {
    const size_t begin = at_;
    const int32_t first = State();
    AddEmpty(from, first);
    TANDEM_ASSIGN_OR_RETURN(int32_t end, Atom(first));
    TANDEM_ASSIGN_OR_RETURN(const auto counts, Quantifier());
    const auto [least, most] = counts;
    if (least == 1 && most == 1) return end;
    const size_t behind = at_;
    const int32_t out = State();
    if (least == 0) AddEmpty(first, out);
    // The atom again and again: each copy is read anew.
    int32_t copies = 1, last_first = first;
    for (; copies < std::max(least, most); ++copies) {
      if (copies >= least) AddEmpty(end, out);
      if (static_cast<int32_t>(nfa_.arcs.size()) > limits_.max_states)
        return absl::InvalidArgumentError("the pattern is too large, with its repetitions");
      at_ = begin;
      last_first = State();
      AddEmpty(end, last_first);
      TANDEM_ASSIGN_OR_RETURN(end, Atom(last_first));
    }
    at_ = behind;
    if (most == 0) return out;  // {0}: the copy that was read leads nowhere
    AddEmpty(end, out);
    if (most < 0) AddEmpty(end, last_first);
    return out;
  }

  // How often: (least, most), most -1: any number.
  absl::StatusOr<std::pair<int32_t, int32_t>> Quantifier() {
    std::pair<int32_t, int32_t> counts{1, 1};
    if (Take('*')) {
      counts = {0, -1};
    } else if (Take('+')) {
      counts = {1, -1};
    } else if (Take('?')) {
      counts = {0, 1};
    } else if (Take('{')) {
      TANDEM_ASSIGN_OR_RETURN(counts.first, Count());
      counts.second = counts.first;
      if (Take(',')) {
        counts.second = -1;
        if (Peek() != '}') {
          TANDEM_ASSIGN_OR_RETURN(counts.second, Count());
        }
        if (counts.second >= 0 && counts.second < counts.first)
          return absl::InvalidArgumentError("the pattern repeats something {n,m} with m < n");
      }
      if (!Take('}')) return absl::InvalidArgumentError("the pattern has a '{' without its '}'");
    } else {
      return counts;
    }
    Take('?');  // a lazy match matches the same texts
    if (Peek() == '*' || Peek() == '+' || Peek() == '?' || Peek() == '{')
      return absl::InvalidArgumentError("the pattern repeats a repetition");
    return counts;
  }

  absl::StatusOr<int32_t> Count() {
    if (Peek() < '0' || Peek() > '9')
      return absl::InvalidArgumentError("the pattern has a '{' without a number");
    int64_t count = 0;
    while (Peek() >= '0' && Peek() <= '9') {
      count = std::min<int64_t>(count * 10 + (Peek() - '0'), int64_t{1} << 40);
      ++at_;
    }
    if (count > limits_.max_repeat)
      return absl::InvalidArgumentError(absl::StrCat("the pattern repeats something ", count,
                                                     " times, at most ", limits_.max_repeat,
                                                     " are allowed"));
    return static_cast<int32_t>(count);
  }

  absl::StatusOr<int32_t> Atom(int32_t from) {
    const char c = Peek();
    if (c == '(') return Group(from);
    if (c == '^' || c == '$') {
      ++at_;
      const int32_t to = State();
      nfa_.arcs[from].push_back({c == '^' ? Edge::kAtBegin : Edge::kAtEnd, to});
      return to;
    }
    if (c == '*' || c == '+' || c == '?' || c == '{')
      return absl::InvalidArgumentError("the pattern repeats nothing");
    TANDEM_ASSIGN_OR_RETURN(const CodePoints set, c == '[' ? Class() : Single(false));
    const int32_t to = State();
    AddChars(from, to, set);
    return to;
  }

  absl::StatusOr<int32_t> Group(int32_t from) {
    ++at_;
    if (Take('?')) {
      if (!Take(':')) return Unsupported("a group that begins with (?, other than (?:");
    }
    TANDEM_ASSIGN_OR_RETURN(const int32_t end, Alternatives(from));
    if (!Take(')')) return absl::InvalidArgumentError("the pattern has a '(' without its ')'");
    return end;
  }

  absl::StatusOr<CodePoints> Class() {
    ++at_;
    excluding_ = Take('^');
    CodePoints set;
    while (Peek() != ']' || AtEnd()) {
      if (AtEnd()) return absl::InvalidArgumentError("the pattern has a '[' without its ']'");
      TANDEM_ASSIGN_OR_RETURN(const CodePoints first, Single(true));
      if (Peek() != '-' || Peek(1) == ']' || Peek(1) == '\0') {
        set.Add(first);
        continue;
      }
      ++at_;
      TANDEM_ASSIGN_OR_RETURN(const CodePoints last, Single(true));
      if (first.size() != 1 || last.size() != 1 || first.ranges()[0].first > last.ranges()[0].first)
        return absl::InvalidArgumentError("the pattern has a range [a-b] that is none");
      set.Add({first.ranges()[0].first, last.ranges()[0].first});
    }
    ++at_;
    return std::exchange(excluding_, false) ? set.Inverse() : set;
  }

  // One character, or an escape that may stand for several.
  absl::StatusOr<CodePoints> Single(bool in_class) {
    if (Take('\\')) return Escape(in_class);
    if (!in_class && Take('.')) return Dot();
    const char32_t c = CodePoint();
    return CodePoints{{c, c}};
  }

  absl::StatusOr<CodePoints> Escape(bool in_class) {
    const char c = Peek();
    if (AtEnd()) return absl::InvalidArgumentError("the pattern ends in a '\\'");
    ++at_;
    switch (c) {
      // Inside [^...] the larger of what dialects mean, elsewhere the smaller.
      case 'd':
        return excluding_ ? AsciiWithout(Digit()).Inverse() : Digit();
      case 'D':
        return excluding_ ? Digit().Inverse() : AsciiWithout(Digit());
      case 'w':
        return excluding_ ? AsciiWithout(Word()).Inverse() : Word();
      case 'W':
        return excluding_ ? Word().Inverse() : AsciiWithout(Word());
      case 's':
        return excluding_ ? NotSpace().Inverse() : Space();
      case 'S':
        return excluding_ ? Space().Inverse() : NotSpace();
      case 't':
        return CodePoints{{'\t', '\t'}};
      case 'n':
        return CodePoints{{'\n', '\n'}};
      case 'r':
        return CodePoints{{'\r', '\r'}};
      case 'f':
        return CodePoints{{'\f', '\f'}};
      case 'v':
        return CodePoints{{'\v', '\v'}};
      case 'x':
        return Hex(2);
      case 'u':
        return Hex(4);
      default:
        break;
    }
    if (in_class && c == 'b') return CodePoints{{'\b', '\b'}};
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
      return Unsupported(absl::StrCat("the escape \\", std::string(1, c)));
    --at_;
    const char32_t point = CodePoint();
    return CodePoints{{point, point}};
  }

  absl::StatusOr<CodePoints> Hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = Peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0)
        return absl::InvalidArgumentError("the pattern has a \\x or \\u without hex digits");
      value = value * 16 + digit;
    }
    return CodePoints{{value, value}};
  }

  // REQUIRES: the pattern is valid UTF-8 and not at its end.
  char32_t CodePoint() {
    const auto lead = static_cast<unsigned char>(pattern_[at_++]);
    if (lead < 0x80) return lead;
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    char32_t point = lead & (0x3f >> more);
    for (int i = 0; i < more && !AtEnd(); ++i) point = point << 6 | (pattern_[at_++] & 0x3f);
    return point;
  }

  std::string_view pattern_;
  const PatternLimits& limits_;
  size_t at_ = 0;
  int nesting_ = 0;
  bool excluding_ = false;  // inside [^...]
  PatternNfa nfa_;
};

}  // namespace

absl::StatusOr<PatternNfa> ParsePattern(std::string_view pattern, const PatternLimits& limits) {
  if (pattern.size() > static_cast<size_t>(limits.max_bytes))
    return absl::InvalidArgumentError(absl::StrCat(
        "the pattern has ", pattern.size(), " bytes, at most ", limits.max_bytes, " are allowed"));
  return Parser(pattern, limits).Parse();
}

}  // namespace tandem
