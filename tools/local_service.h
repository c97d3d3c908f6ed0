// The service over an engine of this process: what front ends share, without a server.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "service/access/gate.h"
#include "service/admission.h"
#include "service/api/chat_run.h"

namespace tandem {

class LocalService {
 public:
  // `max_open`: requests under way at once. The engine outlives it.
  LocalService(Engine& engine, std::string model_name, const PromptPolicy& policy,
               int32_t max_open);

  const ServiceContext& context() const { return context_; }

 private:
  Limits limits_;
  ApiKeys keys_;  // none
  Admission admission_;
  Gate gate_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  WorkQueue intake_{1};
  WorkQueue writer_{1};
  ServiceContext context_;
};

}  // namespace tandem
