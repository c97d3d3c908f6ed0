// What an answer of a chat has to look like, and the compiler that makes a TokenConstraint of it.
//
// An answer is: reasoning up to </think> (if it thinks), text, tool calls, an end token. Grammars
// hold only after the reasoning; in tool calls, between the markers.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/text/tokenizer.h"
#include "engine/token_constraint.h"

namespace tandem {

enum class TextRule { kFree, kJsonObject, kJsonSchema };
enum class ToolRule {
  kNone,      // no call: if tools are declared, the marker that opens calls cannot come
  kAuto,      // text, calls or both
  kRequired,  // a call at least, and no text before it
};

struct CallableTool {
  std::string name;
  nlohmann::ordered_json parameters;  // JSON schema of the arguments; null or {}: any object
  bool strict = false;  // the arguments follow the schema; else they are any JSON object
};

struct AnswerRules {
  bool thinking = false;  // the answer begins inside <think>
  // Most tokens of reasoning; then </think> comes. 0: no limit of its own.
  int32_t max_reasoning_tokens = 0;
  TextRule text = TextRule::kFree;
  nlohmann::ordered_json text_schema;  // for kJsonSchema
  ToolRule tool_rule = ToolRule::kNone;
  std::vector<CallableTool> tools;  // those that may be called; for a named choice just that one
  int32_t first_call_index = 0;     // of this answer's calls; counts over the conversation
  bool parallel_calls = true;       // more than one
};

struct GrammarLimits {
  int32_t max_schema_bytes = 256 << 10;
  int32_t max_depth = 32;          // of nesting, references followed
  int32_t max_nodes = 4096;        // subschemas of one answer
  int32_t max_enum_values = 4096;  // of all enums together
  int32_t max_repeat = 10000;      // minItems, maxLength, {n,m} in patterns and the like
  int32_t max_pattern_bytes = 1024;
  double max_compile_s = 5;
  int64_t max_compile_bytes = int64_t{1} << 30;
  int64_t cache_bytes =
      256 << 20;  // compiled grammars kept, in memory only; least recently used go
};

// Thread-safe. Compiling can take seconds: not for the engine's thread.
class ConstraintCompiler {
 public:
  // `end_ids`: the tokens that end an answer. `tokenizer` must outlive the compiler.
  static std::unique_ptr<ConstraintCompiler> Create(const Tokenizer& tokenizer,
                                                    std::vector<int32_t> end_ids,
                                                    const GrammarLimits& limits = {});
  virtual ~ConstraintCompiler() = default;

  // Null if the rules restrict nothing. Errors: INVALID_ARGUMENT naming what in which schema is
  // wrong, not supported or beyond which limit; RESOURCE_EXHAUSTED when too many are being
  // compiled.
  virtual absl::StatusOr<std::shared_ptr<TokenConstraint>> Compile(const AnswerRules& rules) = 0;
};

}  // namespace tandem
