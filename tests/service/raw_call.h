// Calls any method of a gRPC server with bytes as they are, and asks it by reflection what there
// is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

namespace tandem {

struct RawReply {
  grpc::Status status;                // of the whole call; OK also when `messages` cut it short
  std::vector<std::string> messages;  // at most one: then the call is cancelled
};

// `method`: "/package.Service/Method". `key`: presented as Authorization: Bearer; "" for none.
RawReply RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                 const std::string& key, const std::string& request = "");

// All methods of all services as the server's own reflection tells them, sorted.
std::vector<std::string> ReflectedMethods(const std::shared_ptr<grpc::Channel>& channel,
                                          const std::string& key);

}  // namespace tandem
