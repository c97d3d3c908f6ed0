#include "service/access/api_keys.h"

namespace tandem {

KeyLimits ApiKeys::LimitsOf(const Caller& caller) const {
  for (const Entry& entry : entries_)
    if (entry.name == caller.name) return entry.limits;
  return {};
}

}  // namespace tandem
