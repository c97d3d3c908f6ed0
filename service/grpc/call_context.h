// What a gRPC call brings besides its message, and the status it ends with.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <optional>
#include <string>

#include "core/status.h"
#include "service/access/api_keys.h"
#include "service/access/caller.h"

namespace tandem {

// The key among a call's metadata: of `authorization: Bearer KEY`, else of `x-api-key`.
class CallKey {
 public:
  // Metadata one after the other; names in lower case.
  void Take(const std::string& name, const std::string& value);
  const std::string& presented() const { return has_bearer_ ? bearer_ : plain_; }

 private:
  bool has_bearer_ = false;
  std::string bearer_, plain_;
};

// Who calls. The port has refused whoever has no good key (key_credentials.h).
Caller CallerOf(const grpc::CallbackServerContext& context, const ApiKeys& keys);

// What its metadata say of it, and its own deadline.
absl::StatusOr<RequestTags> TagsOf(const grpc::CallbackServerContext& context);

// The status a call ends with; sets the retry hint that clients with a retry policy follow.
grpc::Status ToGrpcStatus(const absl::Status& status, grpc::CallbackServerContext* context);

}  // namespace tandem
