// What the engine reports, as events of the wire. One encoder per answer; not thread-safe.
#pragma once

#include "engine/engine.h"
#include "engine/text/output_parser.h"
#include "tandem/v1/chat.pb.h"
#include "tandem/v1/completion.pb.h"

namespace tandem {

// What is reported of each token beside the text.
enum class TokenDetail { kNone, kIds, kLogprobs };

class GenerateEncoder {
 public:
  GenerateEncoder(const Tokenizer& tokenizer, TokenDetail detail)
      : tokenizer_(tokenizer), detail_(detail) {}
  v1::GenerateEvent Encode(const GenerationEvent& event);

 private:
  const Tokenizer& tokenizer_;
  const TokenDetail detail_;
};

class ChatEncoder {
 public:
  ChatEncoder(const Tokenizer& tokenizer, TokenDetail detail, bool thinking)
      : tokenizer_(tokenizer), detail_(detail), parser_(tokenizer, thinking) {}
  v1::ChatEvent Encode(const GenerationEvent& event);

 private:
  const Tokenizer& tokenizer_;
  const TokenDetail detail_;
  OutputParser parser_;
};

// Whether an event says anything; the engine also reports tokens whose text is held back.
bool SaysSomething(const v1::GenerateEvent& event);
bool SaysSomething(const v1::ChatEvent& event);

}  // namespace tandem
