#include "engine/request_check.h"

#include "absl/strings/str_cat.h"
#include "engine/stop_matcher.h"

namespace tandem {
namespace {

absl::Status CheckIds(const char* field, const std::vector<int32_t>& ids, int32_t vocab) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab)
      return absl::InvalidArgumentError(absl::StrCat(
          field, "[", i, "] is ", ids[i], ", the vocabulary has the ids 0 to ", vocab - 1));
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidatePrompt(const std::vector<int32_t>& ids, int32_t vocab, int64_t max_tokens) {
  if (ids.empty())
    return absl::InvalidArgumentError("the prompt is empty, it needs a token or more");
  if (static_cast<int64_t>(ids.size()) > max_tokens)
    return absl::InvalidArgumentError(absl::StrCat(
        "the prompt has ", ids.size(), " tokens, the context has room for ", max_tokens));
  return CheckIds("prompt_ids", ids, vocab);
}

absl::Status Validate(const GenerationRequest& request, int32_t vocab, int64_t max_context) {
  TANDEM_RETURN_IF_ERROR(ValidatePrompt(request.prompt_ids, vocab, max_context - 1));
  if (request.max_tokens < 0)
    return absl::InvalidArgumentError(absl::StrCat(
        "max_tokens is ", request.max_tokens, ", must be 0 (no limit but the context) or more"));
  TANDEM_RETURN_IF_ERROR(CheckIds("stop_ids", request.stop_ids, vocab));
  TANDEM_RETURN_IF_ERROR(StopMatcher::Validate(request.stop));
  return Validate(request.sampling, vocab);
}

}  // namespace tandem
