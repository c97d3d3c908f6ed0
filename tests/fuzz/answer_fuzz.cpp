// Any tokens as an answer: taken apart alike whether they come one by one, in any groups, or at
// once, with no marker in any piece.
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/text/output_parser.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

struct Whole {
  std::string reasoning, text, calls;
  int32_t complete = 0;
  bool operator==(const Whole&) const = default;
};

// `cuts`: bit i % 64: an event ends after token i.
Whole TakeApart(const std::vector<int32_t>& ids, bool thinking, uint64_t cuts) {
  static const FakeTokenizer tokenizer;
  OutputParser parser(tokenizer, thinking);
  Utf8Stream utf8;
  Whole whole;
  std::vector<GeneratedToken> tokens;
  std::string text;
  const auto push = [&] {
    for (const AnswerPiece& piece : parser.Push(tokens, text)) {
      if (piece.kind == AnswerPiece::Kind::kReasoning) whole.reasoning += piece.text;
      if (piece.kind == AnswerPiece::Kind::kText) whole.text += piece.text;
      if (piece.kind == AnswerPiece::Kind::kToolCall) whole.calls += "\n" + piece.call_id + "=";
      if (piece.kind == AnswerPiece::Kind::kToolArguments) whole.calls += piece.text;
    }
    tokens.clear();
    text.clear();
  };
  for (size_t i = 0; i < ids.size(); ++i) {
    tokens.push_back({ids[i], 0, {}});
    text += utf8.Push(tokenizer.DecodeBytes({&ids[i], 1}, true));
    if (cuts >> (i % 64) & 1) push();
  }
  text += utf8.Finish();
  push();
  whole.complete = parser.complete_calls();
  return whole;
}

}  // namespace
}  // namespace tandem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  if (size < 9) return 0;
  static const int32_t vocab = FakeTokenizer().vocab_size();
  uint64_t cuts = 0;
  for (int i = 0; i < 8; ++i) cuts = cuts << 8 | data[i];
  const bool thinking = data[8] % 2 == 1;
  std::vector<int32_t> ids;
  // A byte is itself; those above 0xdf, which begin no UTF-8 that matters here, are markers.
  for (size_t i = 9; i < size; ++i)
    ids.push_back(data[i] < 0xe0 ? data[i] : 256 + (data[i] - 0xe0) % (vocab - 256));
  const Whole at_once = TakeApart(ids, thinking, 0);
  if (TakeApart(ids, thinking, ~uint64_t{0}) != at_once) std::abort();
  if (TakeApart(ids, thinking, cuts) != at_once) std::abort();
  return 0;
}
