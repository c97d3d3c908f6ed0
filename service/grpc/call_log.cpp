#include "service/grpc/call_log.h"

#include <string>

#include "service/access/request_id.h"
#include "service/grpc/call_context.h"

namespace tandem {

std::string CallIdOf(const grpc::CallbackServerContext& context) {
  const auto given = context.client_metadata().find("x-request-id");
  if (given == context.client_metadata().end()) return RequestId("");
  return RequestId({given->second.data(), given->second.size()});
}

CallLog::CallLog(const ServiceContext& service, const grpc::CallbackServerContext& context,
                 const char* method)
    : service_(service), caller_(CallerOf(context, *service.keys)) {
  log_.id = CallIdOf(context);
  log_.transport = "grpc";
  log_.method = method;
  log_.caller = caller_.name;
}

void CallLog::NoteTags(const RequestTags& tags) {
  log_.task = tags.task;
  log_.agent = tags.agent;
}

void CallLog::NoteStatus(const absl::Status& status) {
  log_.status = static_cast<int>(status.code());
  log_.error = std::string(status.message());
}

void CallLog::Tell() {
  const auto now = std::chrono::steady_clock::now();
  log_.total_s = std::chrono::duration<double>(now - arrived_).count();
  if (service_.observers == nullptr) return;
  for (const auto& observer : *service_.observers) observer->Ended(log_);
}

}  // namespace tandem
