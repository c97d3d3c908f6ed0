#include "engine/constrain/pattern_grammar.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

constexpr int32_t kWideCost = 10;  // of a state that any character leads out of, measured

using StateSet = std::vector<int32_t>;  // ascending

struct Dfa {
  struct State {
    bool accepts = false;
    std::map<int32_t, CodePoints> next;  // by target
  };
  std::vector<State> states;
};

class Determiniser {
 public:
  Determiniser(const PatternNfa& nfa, int32_t min_length, std::optional<int32_t> max_length,
               int32_t max_states)
      : nfa_(nfa), min_length_(min_length), max_length_(max_length), max_states_(max_states) {}

  absl::StatusOr<Dfa> Run() {
    SplitAlphabet();
    StateOf(Closure({0}, /*at_begin=*/true, false), 0);
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (static_cast<int32_t>(keys_.size()) > max_states_)
        return absl::InvalidArgumentError(
            "the pattern, with the length of the string, needs too many states; make it simpler");
      Expand(static_cast<int32_t>(i));
    }
    return std::move(dfa_);
  }

 private:
  using Key = std::pair<StateSet, int32_t>;  // and the length so far, as far as it matters

  // Characters that every set has or has not alike.
  void SplitAlphabet() {
    std::vector<CodePoints> unique;
    for (const CodePoints& set : nfa_.sets) {
      const auto same = [&](const CodePoints& other) { return other.ranges() == set.ranges(); };
      const auto it = std::ranges::find_if(unique, same);
      unique_of_.push_back(static_cast<int32_t>(it - unique.begin()));
      if (it == unique.end()) unique.push_back(set);
    }
    std::vector<char32_t> cuts;
    for (const CodePoints& set : unique) {
      for (const auto& [first, last] : set.ranges()) {
        cuts.push_back(first);
        cuts.push_back(last + 1);
      }
    }
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::map<std::vector<bool>, CodePoints> letters;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<bool> in;
      for (const CodePoints& set : unique) in.push_back(set.Contains(cuts[i]));
      if (std::ranges::find(in, true) != in.end()) letters[in].Add({cuts[i], cuts[i + 1] - 1});
    }
    for (auto& [in, letter] : letters) letters_.push_back({in, std::move(letter)});
  }

  StateSet Closure(StateSet states, bool at_begin, bool at_end) const {
    std::vector<bool> seen(nfa_.arcs.size());
    StateSet todo = states;
    for (const int32_t state : states) seen[state] = true;
    while (!todo.empty()) {
      const int32_t state = todo.back();
      todo.pop_back();
      for (const PatternNfa::Arc& arc : nfa_.arcs[state]) {
        const bool free = arc.edge == PatternNfa::Edge::kEmpty ||
                          (arc.edge == PatternNfa::Edge::kAtBegin && at_begin) ||
                          (arc.edge == PatternNfa::Edge::kAtEnd && at_end);
        if (!free || seen[arc.to]) continue;
        seen[arc.to] = true;
        todo.push_back(arc.to);
        states.push_back(arc.to);
      }
    }
    std::ranges::sort(states);
    return states;
  }

  int32_t StateOf(StateSet set, int32_t length) {
    const auto [it, is_new] =
        index_.try_emplace({std::move(set), length}, static_cast<int32_t>(keys_.size()));
    if (is_new) {
      keys_.push_back(&it->first);
      dfa_.states.emplace_back();
    }
    return it->second;
  }

  void Expand(int32_t index) {
    const auto& [set, length] = *keys_[index];
    // "^" may follow "$" on the empty text.
    const StateSet at_end = Closure(set, index == 0, true);
    dfa_.states[index].accepts =
        length >= min_length_ && std::ranges::binary_search(at_end, nfa_.accept);
    if (max_length_ && length >= *max_length_) return;
    const int32_t next_length = max_length_ ? length + 1 : std::min(length + 1, min_length_);
    for (const auto& [in, letter] : letters_) {
      StateSet next;
      for (const int32_t state : set)
        for (const PatternNfa::Arc& arc : nfa_.arcs[state])
          if (arc.edge == PatternNfa::Edge::kChars && in[unique_of_[arc.set]])
            next.push_back(arc.to);
      if (next.empty()) continue;
      std::ranges::sort(next);
      next.erase(std::unique(next.begin(), next.end()), next.end());
      const int32_t target = StateOf(Closure(std::move(next), false, false), next_length);
      dfa_.states[index].next[target].Add(letter);
    }
  }

  const PatternNfa& nfa_;
  const int32_t min_length_;
  const std::optional<int32_t> max_length_;
  const int32_t max_states_;
  std::vector<int32_t> unique_of_;  // by set of the automaton
  std::vector<std::pair<std::vector<bool>, CodePoints>> letters_;
  std::map<Key, int32_t> index_;
  std::vector<const Key*> keys_;
  Dfa dfa_;
};

// Which states a text can still be accepted from.
std::vector<bool> Alive(const Dfa& dfa) {
  std::vector<std::vector<int32_t>> from(dfa.states.size());
  std::vector<int32_t> todo;
  std::vector<bool> alive(dfa.states.size());
  for (size_t i = 0; i < dfa.states.size(); ++i) {
    for (const auto& [target, set] : dfa.states[i].next)
      from[target].push_back(static_cast<int32_t>(i));
    if ((alive[i] = dfa.states[i].accepts)) todo.push_back(static_cast<int32_t>(i));
  }
  while (!todo.empty()) {
    const int32_t state = todo.back();
    todo.pop_back();
    for (const int32_t before : from[state]) {
      if (alive[before]) continue;
      alive[before] = true;
      todo.push_back(before);
    }
  }
  return alive;
}

}  // namespace

absl::StatusOr<PatternGrammar> GrammarOfPattern(const PatternNfa& nfa, int32_t min_length,
                                                std::optional<int32_t> max_length,
                                                const std::string& name, int32_t max_cost) {
  TANDEM_ASSIGN_OR_RETURN(const Dfa dfa,
                          Determiniser(nfa, min_length, max_length, 4 * max_cost + 64).Run());
  const std::vector<bool> alive = Alive(dfa);
  if (!alive[0]) return absl::InvalidArgumentError("no string matches the pattern and the lengths");

  PatternGrammar grammar{.start = absl::StrCat(name, "_0")};
  for (size_t i = 0; i < dfa.states.size(); ++i) {
    if (!alive[i]) continue;
    std::vector<std::string> parts;
    if (dfa.states[i].accepts) parts.push_back("\"\\\"\"");
    bool wide = false;
    for (const auto& [target, set] : dfa.states[i].next) {
      if (!alive[target]) continue;
      wide |= set.ranges().back().last > 0x7f;
      for (const std::string& part : set.JsonAlternatives())
        parts.push_back(absl::StrCat(part, " ", name, "_", target));
    }
    absl::StrAppend(&grammar.rules, name, "_", i, " ::= (", absl::StrJoin(parts, " | "),
                    ") (=[ \\n\\r\\t]* [,:}\\]])\n");
    if ((grammar.cost += wide ? kWideCost : 1) > max_cost)
      return absl::InvalidArgumentError(
          "the pattern, with the length of the string, needs too many states; make it simpler");
  }
  return grammar;
}

}  // namespace tandem
