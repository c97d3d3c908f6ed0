// Updates of a run as events of the wire.
#pragma once

#include <cstdint>

#include "engine/text/tokenizer.h"
#include "service/api/chat_call.h"
#include "tandem/v1/chat.pb.h"
#include "tandem/v1/completion.pb.h"

namespace tandem {

// What is reported of each token beside the text.
enum class TokenDetail { kNone, kIds, kLogprobs };

v1::GenerateEvent ToGenerateEvent(const ChatUpdate& update, const Tokenizer& tokenizer,
                                  TokenDetail detail);
v1::ChatEvent ToChatEvent(const ChatUpdate& update, const Tokenizer& tokenizer, TokenDetail detail);

// Whether an event says anything; there are also updates of tokens whose text is held back.
bool SaysSomething(const v1::GenerateEvent& event);
bool SaysSomething(const v1::ChatEvent& event);

// Adds an update to one of the same choice that was not sent yet. The bytes, about, that it adds.
int64_t Merge(const ChatUpdate& from, ChatUpdate& to);

}  // namespace tandem
