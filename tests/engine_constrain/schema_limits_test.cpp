// Schemas that mean harm, and those that ask for what is not supported: each a plain error, soon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <limits>
#include <thread>

#include "../engine_text/tiny_tokenizer.h"
#include "engine/constrain/answer_rules.h"
#include "engine/constrain/grammar_store.h"
#include "engine/constrain/grammar_vocabulary.h"
#include "engine/constrain/json_grammar.h"
#include "random_answers.h"

namespace tandem::testing {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

// Of all threads: what else runs on the machine does not count.
double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

class SchemaLimitsTest : public ::testing::Test {
 protected:
  absl::Status Compile(const Json& schema) {
    return compiler_->Compile({.text = TextRule::kJsonSchema, .text_schema = schema}).status();
  }
  void ExpectRefused(const Json& schema, const std::string& because) {
    const double begin_s = CpuSeconds();
    const absl::Status status = Compile(schema);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << because << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(because));
    EXPECT_LT(std::string(status.message()).size(), 400u);
    EXPECT_LT(CpuSeconds() - begin_s, 3) << because;
  }
  void ExpectRefused(const char* schema, const std::string& because) {
    ExpectRefused(Json::parse(schema), because);
  }
  void ExpectFine(const Json& schema) {
    const double begin_s = CpuSeconds();
    const absl::Status status = Compile(schema);
    EXPECT_TRUE(status.ok()) << status << "\n" << schema.dump().substr(0, 200);
    EXPECT_LT(CpuSeconds() - begin_s, 5);
  }
  void ExpectFine(const char* schema) { ExpectFine(Json::parse(schema)); }

  std::unique_ptr<Tokenizer> tokenizer_ = MakeTinyTokenizer();
  std::vector<int32_t> end_ids_ = {tokenizer_->SpecialId("<|im_end|>").value()};
  std::unique_ptr<ConstraintCompiler> compiler_ = ConstraintCompiler::Create(*tokenizer_, end_ids_);
};

TEST_F(SchemaLimitsTest, PatternsThatHangBacktrackingEngines) {
  ExpectFine(R"({"type": "string", "pattern": "(a+)+$"})");
  ExpectFine(R"({"type": "string", "pattern": "^(a|a)*b(x?){30}x{3}$"})");
  ExpectFine(R"({"type": "string", "pattern": "((((a*)*)*)*)*"})");
  ExpectRefused(R"({"type": "string", "pattern": "^(a|b)*a(a|b){20}$"})", "too many states");
  ExpectRefused(R"({"type": "string", "pattern": "^a{0,2147483647}$"})", "2147483647");
  ExpectRefused(R"({"type": "string", "pattern": "^a{0,99999999999999999999}$"})", "times");
  ExpectRefused(R"({"type": "string", "pattern": "((((a{99}){99}){99}){99}){99}"})", "too large");
  ExpectRefused(Json{{"type", "string"}, {"pattern", std::string(2000, 'a')}}, "bytes");
  ExpectRefused(Json{{"type", "string"}, {"pattern", std::string(1000, '(')}}, "nested");
}

TEST_F(SchemaLimitsTest, PatternsOutsideTheSyntax) {
  for (const char* pattern : {"(?=a)b", "(?<!a)b", "(a)\\1", "\\bword", "\\p{L}", "(?i)a"})
    ExpectRefused(Json{{"type", "string"}, {"pattern", pattern}}, "not supported");
  for (const char* pattern :
       {"(a", "a)", "[a", "a{2", "*a", "a**", "a{3,2}", "[z-a]", "a\\", "\\xg"})
    ExpectRefused(Json{{"type", "string"}, {"pattern", pattern}}, "pattern");
  ExpectRefused(R"({"type": "string", "pattern": "^abc$", "maxLength": 2})", "no string matches");
  ExpectRefused(R"({"type": "string", "pattern": "a^"})", "no string matches");
}

TEST_F(SchemaLimitsTest, ReferencesThatLeadNowhere) {
  ExpectRefused(R"({"$ref": "#"})", "circle");
  ExpectRefused(
      R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})",
      "circle");
  ExpectRefused(R"({"anyOf": [{"type": "null"}, {"$ref": "#"}]})", "circle");
  ExpectRefused(
      R"({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}})",
      "levels deep");
  ExpectRefused(
      R"({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}},
                "required": ["n"]}}})",
      "without end");
  ExpectRefused(R"({"type": "array", "minItems": 1, "items": {"$ref": "#"}})", "");
  ExpectRefused(R"({"$ref": "https://example.com/schema"})", "other documents");
  ExpectRefused(R"({"$ref": "file:///etc/passwd"})", "other documents");
  ExpectRefused(R"({"$ref": "#/nowhere"})", "does not have");
  ExpectRefused(R"({"$ref": 7})", "string");
  // A reference of which each expansion holds two more.
  Json defs = Json::object();
  for (int i = 0; i < 14; ++i) {
    const Json next = {{"$ref", "#/$defs/d" + std::to_string(i + 1)}, {"minItems", i}};
    defs["d" + std::to_string(i)] = {{"type", "array"}, {"prefixItems", {next, next}}};
  }
  defs["d14"] = {{"type", "array"}};
  ExpectRefused(Json{{"$ref", "#/$defs/d0"}, {"$defs", defs}}, "subschemas");
}

TEST_F(SchemaLimitsTest, Size) {
  Json any = {{"type", "null"}};
  for (int i = 0; i < 10000; ++i) any = Json{{"anyOf", Json::array({std::move(any)})}};
  ExpectRefused(any, "nested too deeply");
  Json deep = {{"type", "null"}};
  for (int i = 0; i < 40; ++i) deep = Json{{"type", "array"}, {"items", std::move(deep)}};
  ExpectRefused(deep, "levels deep");
  ExpectRefused(R"({"type": "array", "maxItems": 1000000000})", "maxItems");
  ExpectRefused(R"({"type": "array", "minItems": 1e300})", "minItems");
  ExpectRefused(R"({"type": "array", "minItems": -1})", "minItems");
  ExpectRefused(R"({"type": "string", "minLength": 9223372036854775807})", "minLength");
  ExpectRefused(R"({"type": "string", "minLength": 5000})", "states");
  Json values = Json::array();
  for (int i = 0; i < 10000; ++i) values.push_back(std::string(10 << 10, 'x') + std::to_string(i));
  ExpectRefused(Json{{"enum", std::move(values)}}, "bytes");
  Json numbers = Json::array();
  for (int i = 0; i < 5000; ++i) numbers.push_back(i);
  ExpectRefused(Json{{"enum", std::move(numbers)}}, "values of enums");
  Json wide = Json::object();
  for (int i = 0; i < 5000; ++i) wide["p" + std::to_string(i)] = {{"type", "null"}};
  ExpectRefused(Json{{"type", "object"}, {"properties", wide}}, "subschemas");
  Json half = Json::object();
  for (int i = 0; i < 1500; ++i) half["p" + std::to_string(i)] = {{"type", "null"}};
  const Json tool = {{"type", "object"}, {"properties", half}};
  const auto both =
      compiler_->Compile({.tool_rule = ToolRule::kAuto,
                          .tools = {{"a", tool, true}, {"b", tool, true}, {"c", tool, true}}});
  EXPECT_THAT(std::string(both.status().message()), HasSubstr("subschemas"))
      << "limits hold for all schemas of a request together";
}

TEST_F(SchemaLimitsTest, WhatIsNoSchema) {
  for (const char* schema : {"3",
                             "null",
                             "[]",
                             "\"x\"",
                             "false",
                             R"({"type": "strnig"})",
                             R"({"type": 3})",
                             R"({"type": []})",
                             R"({"type": "object", "properties": []})",
                             R"({"type": "object", "required": "a"})",
                             R"({"type": "object", "required": [1]})",
                             R"({"enum": []})",
                             R"({"enum": 3})",
                             R"({"anyOf": []})",
                             R"({"anyOf": {}})",
                             R"({"allOf": [false]})",
                             R"({"type": "string", "pattern": 3})",
                             R"({"type": "integer", "minimum": "3"})",
                             R"({"type": "array", "items": 3})",
                             R"({"type": "array", "minItems": 2.5})"})
    ExpectRefused(schema, "the schema");
  ExpectRefused(Json{{"type", "number"}, {"minimum", std::numeric_limits<double>::quiet_NaN()}},
                "minimum");
  ExpectRefused(Json{{"type", "number"}, {"maximum", std::numeric_limits<double>::infinity()}},
                "maximum");
  ExpectRefused(Json{{"const", "\xff\xfe"}}, "UTF-8");
  ExpectRefused(Json{{"type", "object"}, {"properties", {{"\xc3", true}}}}, "UTF-8");
}

TEST_F(SchemaLimitsTest, Contradictions) {
  ExpectRefused(R"({"type": "integer", "minimum": 3, "maximum": 2})", "bounds");
  ExpectRefused(R"({"type": "number", "exclusiveMinimum": 3, "maximum": 3})", "bounds");
  ExpectRefused(R"({"type": "string", "minLength": 3, "maxLength": 2})", "minLength");
  ExpectRefused(R"({"type": "array", "minItems": 3, "maxItems": 2})", "minItems");
  ExpectRefused(R"({"type": "integer", "enum": ["a"]})", "no value");
  ExpectRefused(R"({"allOf": [{"type": "string"}, {"type": "null"}]})", "contradict");
  ExpectRefused(R"({"type": "object", "required": ["a"], "additionalProperties": false})",
                "not allowed");
}

TEST_F(SchemaLimitsTest, NotSupportedIsSaidWithItsPlace) {
  for (const char* key : {"not", "if", "contains", "propertyNames", "dependentRequired"})
    ExpectRefused(Json{{"type", "object"}, {"properties", {{"a", {{key, Json::object()}}}}}},
                  std::string("#/properties/a: '") + key + "' is not supported");
  ExpectRefused(R"({"type": "array", "uniqueItems": true})", "uniqueItems");
  ExpectRefused(R"({"type": "number", "multipleOf": 0.1})", "multipleOf");
  ExpectRefused(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", "oneOf");
  ExpectFine(R"({"type": "object", "title": "x", "x-y": 1, "unknown": [], "properties": {}})");
  ExpectFine(R"({"type": "array", "uniqueItems": false, "items": {}})");
}

TEST_F(SchemaLimitsTest, ModelsWithoutTheMarkersHaveNoTools) {
  TempFolder folder;
  folder.Write("tiktoken.model", TiktokenLines(TinyTokens()));
  folder.Write("tokenizer_config.json", TokenizerConfig({}));
  const auto plain = Tokenizer::Load(folder.path());
  ASSERT_TRUE(plain.ok()) << plain.status();
  const auto compiler = ConstraintCompiler::Create(**plain, {(*plain)->vocab_size() - 1});
  const auto tools = compiler->Compile({.tool_rule = ToolRule::kAuto, .tools = {{.name = "f"}}});
  EXPECT_EQ(tools.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(compiler->Compile({.text = TextRule::kJsonObject}).ok());
  EXPECT_EQ(ConstraintCompiler::Create(**plain, {})
                ->Compile({.text = TextRule::kJsonObject})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

// ---- The store of compiled grammars.

TEST_F(SchemaLimitsTest, MemoryIsBoundedHoweverManyGrammarsCome) {
  const GrammarLimits limits{.cache_bytes = 1 << 20};
  const GrammarVocabulary vocabulary(*tokenizer_, end_ids_);
  GrammarStore store(vocabulary.xgrammar(), limits);
  int64_t most_bytes = 0;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(store.Get({"root ::= \"" + std::to_string(i) + "\"\n"}).ok());
    most_bytes = std::max(most_bytes, store.cached_bytes());
  }
  EXPECT_LE(most_bytes, limits.cache_bytes);
  EXPECT_LT(store.cached_grammars(), 2000);
  EXPECT_GT(store.cached_grammars(), 1);
}

TEST_F(SchemaLimitsTest, WhoTakesTooLongGoesAloneAndTheOthersGoOn) {
  const GrammarLimits limits{.max_compile_s = 0.3};
  const GrammarVocabulary vocabulary(*tokenizer_, end_ids_);
  GrammarStore store(vocabulary.xgrammar(), limits);
  const std::string known = AnyObjectGrammar();
  ASSERT_TRUE(store.Get({known}).ok());
  std::string slow = "root ::= s0\n";  // right recursion without end in sight
  for (int i = 0; i < 30000; ++i)
    slow += "s" + std::to_string(i) + " ::= \"a\" | [^a] s" + std::to_string(i + 1) + "\n";
  slow += "s30000 ::= \"\"\n";
  const auto begin = std::chrono::steady_clock::now();
  const auto status = store.Get({slow}).status();
  EXPECT_FALSE(status.ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  EXPECT_TRUE(store.Get({known}).ok()) << "what is compiled is at hand";
}

TEST_F(SchemaLimitsTest, ARefusedGrammarIsAnErrorAndNoException) {
  const GrammarVocabulary vocabulary(*tokenizer_, end_ids_);
  GrammarStore store(vocabulary.xgrammar(), {});
  EXPECT_EQ(store.Get({"root ::= ("}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(store.Get({"root ::= \"\xff\""}).status().code(), absl::StatusCode::kInternal);
}

TEST_F(SchemaLimitsTest, ManyThreadsCompileAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i)
        ExpectFine(
            Json{{"type", "object"},
                 {"properties", {{"p" + std::to_string((t + i) % 7), {{"type", "integer"}}}}}});
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tandem::testing
