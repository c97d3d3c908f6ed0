#include "service/grpc/call_context.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "engine/engine.h"

namespace tandem {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

std::optional<SteadyTime> DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;  // none: the end of time
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(left);
}

}  // namespace

void CallKey::Take(const std::string& name, const std::string& value) {
  if (name == "x-api-key") plain_ = value;
  if (name != "authorization") return;
  has_bearer_ = true;
  const bool is_bearer = absl::StartsWithIgnoreCase(value, "bearer ");
  bearer_ = is_bearer ? std::string(absl::StripAsciiWhitespace(value.substr(7))) : "";
}

Caller CallerOf(const grpc::CallbackServerContext& context, const ApiKeys& keys) {
  CallKey key;
  for (const auto& [name, value] : context.client_metadata()) {
    key.Take({name.data(), name.size()}, {value.data(), value.size()});
  }
  return keys.Check(key.presented()).value_or(Caller{});
}

absl::StatusOr<RequestTags> TagsOf(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  TANDEM_ASSIGN_OR_RETURN(
      RequestTags tags, ParseRequestTags([&](std::string_view name) -> std::optional<std::string> {
        const auto found = metadata.find(grpc::string_ref(name.data(), name.size()));
        if (found == metadata.end()) return std::nullopt;
        return std::string(found->second.data(), found->second.size());
      }));
  if (const auto deadline = DeadlineOf(context))
    tags.deadline = tags.deadline ? std::min(*tags.deadline, *deadline) : *deadline;
  return tags;
}

grpc::Status ToGrpcStatus(const absl::Status& status, grpc::CallbackServerContext* context) {
  if (auto retry_after_ms = status.GetPayload(kRetryAfterMsPayload))
    context->AddTrailingMetadata("grpc-retry-pushback-ms", std::string(*retry_after_ms));
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace tandem
