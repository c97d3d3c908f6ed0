// The log of a request that was answered, as front ends leave it.
#pragma once

#include <string>

#include "service/access/request_log.h"

namespace tandem::testing {

inline RequestLog Answered(const std::string& method, int status = 200) {
  RequestLog log;
  log.id = "req-1";
  log.transport = "http";
  log.method = method;
  log.status = status;
  log.total_s = 1.5;
  log.generated = true;
  log.usage = {.prompt_tokens = 100,
               .cached_tokens = 64,
               .completion_tokens = 11,
               .queue_s = 0.2,
               .prefill_s = 0.3,
               .decode_s = 1.0};
  log.first_token_s = 0.5;
  log.finish = "stop";
  return log;
}

}  // namespace tandem::testing
