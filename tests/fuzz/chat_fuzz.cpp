// Any bytes as the JSON of a chat: refused with a sentence, or rendered so that the ids spell the
// text, and control tokens are there only where the template puts them.
#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/text/chat_format.h"
#include "service/bounded_json.h"
#include "tests/service/fake_engine.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static const FakeTokenizer tokenizer;
  static const Limits limits;
  const auto body = ParseBoundedJson({reinterpret_cast<const char*>(data), size}, limits, 1 << 20);
  if (!body.ok()) return body.status().message().empty() ? std::abort(), 0 : 0;
  if (!body->is_object() || !body->contains("messages")) return 0;
  nlohmann::ordered_json tools;
  if (body->contains("tools")) tools = body->at("tools");
  for (const bool thinking : {true, false}) {
    const auto chat = RenderChat(tokenizer, body->at("messages"), tools,
                                 {.thinking = thinking, .preserve_thinking = size % 2 == 0});
    if (!chat.ok()) continue;
    if (tokenizer.DecodeBytes(chat->ids, false) != chat->text) std::abort();
    // One turn ends per message, the declaration of the tools, and none that a message spells out.
    const auto end = *tokenizer.SpecialId("<|im_end|>");
    const auto turns = static_cast<size_t>(std::ranges::count(chat->ids, end));
    if (turns > body->at("messages").size() + 1) std::abort();
  }
  return 0;
}
