// Errors the world can cause are absl::Status; errors a programmer makes are TANDEM_CHECKs.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* what, const char* meaning);
}  // namespace tandem::internal

// Stops the program when an internal promise is broken; `meaning` says which one. Never for user
// input.
#define TANDEM_CHECK(cond, meaning)                                        \
  do {                                                                     \
    if (!(cond)) [[unlikely]]                                              \
      ::tandem::internal::CheckFailed(__FILE__, __LINE__, #cond, meaning); \
  } while (0)

#define TANDEM_RETURN_IF_ERROR(expr)                                           \
  do {                                                                         \
    if (absl::Status tandem_status = (expr); !tandem_status.ok()) [[unlikely]] \
      return tandem_status;                                                    \
  } while (0)

#define TANDEM_CONCAT_INNER(a, b) a##b
#define TANDEM_CONCAT(a, b) TANDEM_CONCAT_INNER(a, b)
#define TANDEM_ASSIGN_OR_RETURN(lhs, expr) \
  TANDEM_ASSIGN_OR_RETURN_IMPL(TANDEM_CONCAT(status_or_, __LINE__), lhs, expr)
#define TANDEM_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) [[unlikely]]                        \
    return std::move(tmp).status();                  \
  lhs = std::move(tmp).value()
