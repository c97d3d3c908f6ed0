// Reasoning in the fields that APIs have for something opaque which a client sends back as it is:
// Anthropic's "signature", Responses' "encrypted_content". Nothing is signed or secret: it is the
// text, in base64, so that no server has to remember it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tandem {

inline constexpr char kUnsealed[] = "tandem";  // a signature that holds nothing: the text is beside

std::string SealReasoning(std::string_view reasoning);
// nullopt: not one of ours, or damaged.
std::optional<std::string> OpenReasoning(std::string_view sealed);

}  // namespace tandem
