#include "tools/local_service.h"

#include <utility>

namespace tandem {

LocalService::LocalService(Engine& engine, std::string model_name, const PromptPolicy& policy,
                           int32_t max_open)
    : limits_{.max_open_requests = max_open},
      admission_(max_open),
      gate_(admission_, keys_),
      constraints_(ConstraintCompiler::Create(engine.tokenizer(), engine.config().eos_ids)),
      context_{engine,  gate_,   *constraints_,         limits_,
               intake_, writer_, std::move(model_name), policy} {}

}  // namespace tandem
