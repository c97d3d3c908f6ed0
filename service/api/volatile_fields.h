// Fields that agent clients put into their system prompt and change with every request. At the head
// of a prompt they would make each request miss the prefix cache from there on, so they are taken
// out. What they say is not for the model. The rules (docs/api.md has them for users):
//
//   billing   The first message is a system message whose text begins with a line
//             "x-anthropic-billing-header: ...": that line goes, and the line breaks after it.
//   tokens    "<total_tokens>N tokens left</total_tokens>", N decimal, in the system messages that
//             stand before all others: goes, with the white space in front of it.
//
// Nothing else is touched: no other role, no system message within the conversation (clients leave
// those as they are in the next request), no date or time.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

namespace tandem {

// `messages` as RenderChat() takes them; whatever is malformed is left for that to refuse. nullopt
// if there is nothing to take out. Time linear in the leading system messages.
std::optional<nlohmann::ordered_json> WithoutVolatileFields(const nlohmann::ordered_json& messages);

}  // namespace tandem
