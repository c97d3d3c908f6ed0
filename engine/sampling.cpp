#include "engine/sampling.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

absl::Status OutOfRange(const char* field, double value, const char* range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", must be ", range));
}

absl::Status CheckRange(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN too
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", must be in [", low, ", ", high, "]"));
}

absl::Status CheckBias(const std::vector<std::pair<int32_t, float>>& logit_bias, int32_t vocab) {
  for (const auto& [id, bias] : logit_bias) {
    if (id < 0 || id >= vocab)
      return absl::InvalidArgumentError(absl::StrCat(
          "logit_bias names token ", id, ", the vocabulary has the ids 0 to ", vocab - 1));
    TANDEM_RETURN_IF_ERROR(
        CheckRange(absl::StrCat("logit_bias of token ", id).c_str(), bias, -100, 100));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const SamplingParams& p, int32_t vocab) {
  TANDEM_RETURN_IF_ERROR(CheckRange("temperature", p.temperature, 0, 100));
  if (!(p.top_p > 0 && p.top_p <= 1)) return OutOfRange("top_p", p.top_p, "in (0, 1]");
  if (p.top_k < 0) return OutOfRange("top_k", p.top_k, "0 (off) or more");
  TANDEM_RETURN_IF_ERROR(CheckRange("min_p", p.min_p, 0, 1));
  if (!(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty)))
    return OutOfRange("repetition_penalty", p.repetition_penalty, "greater than 0 and finite");
  TANDEM_RETURN_IF_ERROR(CheckRange("presence_penalty", p.presence_penalty, -2, 2));
  TANDEM_RETURN_IF_ERROR(CheckRange("frequency_penalty", p.frequency_penalty, -2, 2));
  TANDEM_RETURN_IF_ERROR(CheckRange("top_logprobs", p.top_logprobs, -1, 20));
  return CheckBias(p.logit_bias, vocab);
}

}  // namespace tandem
