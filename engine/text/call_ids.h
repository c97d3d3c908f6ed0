// Ids of tool calls: "functions.NAME:INDEX", where INDEX counts the calls of the whole conversation
// from 0 (kimi_k26: call ids).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_message.h"

namespace tandem {

// "functions.NAME:7" -> "NAME"; NAME may hold dots, colons and hyphens. What is missing of the
// pattern is no error: "NAME:7" and "NAME" give NAME, too.
std::string ToolNameOfCallId(std::string_view call_id);

// Whether it is "functions.", a name, ":" and a number.
bool IsNativeCallId(std::string_view call_id);

std::string NativeCallId(std::string_view name, int32_t index);

// Gives calls whose id is of another style (another server's "call_abc", say) the id that the model
// knows, and the tool messages that answer them. Native ids stay as they are, even if their numbers
// are odd. Returns the number of calls: the index of the next one.
int32_t NormaliseCallIds(std::vector<ChatMessage>& messages);

}  // namespace tandem
