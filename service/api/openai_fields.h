// Fields of OpenAI's chat completions and completions, in groups. Errors of a field's type and
// range are kept by `fields`, others are returned.
#pragma once

#include "service/api/chat_call.h"
#include "service/api/json_fields.h"
#include "service/api/openai_request.h"

namespace tandem {

// Reads model, stream, n and what the sampler and the end of an answer depend on, into `call` and
// `request`; ignores what has no effect, refuses what this server cannot do.
absl::Status ReadSharedFields(JsonFields& fields, const OpenAiParseArgs& args, ChatCall& call,
                              OpenAiRequest& request);

// Messages, tools, and how they are rendered.
absl::StatusOr<ChatPrompt> ReadChatPrompt(JsonFields& fields, const OpenAiParseArgs& args);

}  // namespace tandem
