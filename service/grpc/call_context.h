// What a gRPC call brings besides its message, and the status it ends with.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <optional>

#include "core/status.h"
#include "service/access/caller.h"

namespace tandem {

// Who calls.
Caller CallerOf(const grpc::CallbackServerContext& context);

// What its metadata say of it, and its own deadline.
absl::StatusOr<RequestTags> TagsOf(const grpc::CallbackServerContext& context);

// The status a call ends with; sets the retry hint that clients with a retry policy follow.
grpc::Status ToGrpcStatus(const absl::Status& status, grpc::CallbackServerContext* context);

}  // namespace tandem
