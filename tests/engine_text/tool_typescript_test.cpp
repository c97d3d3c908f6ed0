#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "engine/text/chat_format.h"
#include "engine/text/python_json.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Declare(const std::string& tools) {
  return ToolsToTypeScript(DeepSorted(Json::parse(tools)));
}

// The declaration of one function `f` with these parameters, without the frame around it.
std::string DeclareParameters(const std::string& parameters) {
  const std::string all =
      Declare(R"([{"type":"function","function":{"name":"f","parameters":)" + parameters + "}}]");
  const std::string head = "# Tools\n\n## functions\nnamespace functions {\n";
  if (all.empty()) return "";
  EXPECT_EQ(all.substr(0, head.size()), head);
  return all.substr(head.size(), all.size() - head.size() - 2);
}

// The type of one optional property `a` with this schema.
std::string DeclareType(const std::string& schema) {
  const std::string all = DeclareParameters(R"({"properties":{"a":)" + schema + "}}");
  const std::string head = "type f = (_: {\n", tail = "\n}) => any;\n";
  if (all.empty()) return "";
  return all.substr(head.size(), all.size() - head.size() - tail.size());
}

TEST(ToolTypeScript, TwoTools) {
  EXPECT_EQ(Declare(R"([
    {"type": "function", "function": {"name": "get_weather",
      "description": "Get weather information.\nCall when needed.",
      "parameters": {"type": "object", "required": ["city"], "properties": {
        "unit": {"type": "string", "enum": ["c", "f"], "description": "Temperature unit", "default": "c"},
        "city": {"type": "string", "description": "City name"},
        "days": {"type": "integer", "minimum": 1, "maximum": 7}}}}},
    {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {
        "qs": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "opts": {"type": "object", "properties": {"deep": {"type": "boolean"}},
                 "additionalProperties": false}}}}}])"),
            R"(# Tools

## functions
namespace functions {
// Get weather information.
// Call when needed.
type get_weather = (_: {
  // City name
  city: string,
  // maximum: 7, minimum: 1
  days?: number,
  // Temperature unit
  // Default: "c"
  unit?: "c" | "f"
}) => any;
type search = (_: {
  opts?: {
    deep?: boolean,
    [k: string]: never
  },
  qs?: string | Array<string>
}) => any;
}
)");
}

TEST(ToolTypeScript, Types) {
  EXPECT_EQ(DeclareType("true"), "  a?: any");
  EXPECT_EQ(DeclareType("false"), "  a?: null");
  EXPECT_EQ(DeclareType("{}"), "  a?: any");
  EXPECT_EQ(DeclareType(R"({"type":"integer"})"), "  a?: number");
  EXPECT_EQ(DeclareType(R"({"type":"date"})"), "  a?: date");
  EXPECT_EQ(DeclareType(R"({"type":["string","null","object","array"]})"),
            "  a?: string | null | {} | Array<any>");
  EXPECT_EQ(DeclareType(R"({"enum":["a\"b",1,1.5,true,null]})"),
            "  a?: \"a\"b\" | 1 | 1.5 | True | None");
  EXPECT_EQ(DeclareType(R"({"enum":[true,2],"type":["null","integer"]})"), "  a?: True | 2");
  EXPECT_EQ(DeclareType(R"({"type":"object"})"), "  a?: {}");
  EXPECT_EQ(DeclareType(R"({"type":"array"})"), "  a?: Array<any>");
  EXPECT_EQ(DeclareType(R"({"type":"array","items":{}})"), "  a?: Array<any>");
  EXPECT_EQ(DeclareType(R"({"type":"object","additionalProperties":true})"),
            "  a?: {\n    [k: string]: any\n  }");
  EXPECT_EQ(DeclareType(R"({"type":"object","additionalProperties":{"type":"integer"}})"),
            "  a?: {\n    [k: string]: number\n  }");
  EXPECT_EQ(DeclareType(R"({"type":"object","additionalProperties":null})"), "  a?: {}");
}

TEST(ToolTypeScript, CommentsAndDefaults) {
  EXPECT_EQ(
      DeclareType(
          R"({"type":"string","description":"x\n\ny","pattern":"^a$","minLength":2,"maximum":3})"),
      "  // x\n\n  // y\n  // minLength: 2, pattern: ^a$\n  a?: string");
  EXPECT_EQ(DeclareType(R"({"type":"number","minimum":0.5,"maximum":1e20})"),
            "  // maximum: 1e+20, minimum: 0.5\n  a?: number");
  EXPECT_EQ(
      DeclareType(R"({"type":"array","maxItems":3,"items":{"type":"string","description":"d"}})"),
      "  // maxItems: 3\n  a?: Array<\n    // d\n    string\n  >");
  EXPECT_EQ(DeclareType(R"({"type":"boolean","default":false})"),
            "  // Default: False\n  a?: boolean");
  EXPECT_EQ(DeclareType(R"({"type":"string","default":"é\n"})"),
            "  // Default: \"é\\n\"\n  a?: string");
  EXPECT_EQ(DeclareType(R"({"type":"object","default":{"b":1,"a":[2]}})"),
            "  // Default: {\"a\": [2], \"b\": 1}\n  a?: {}");
  EXPECT_EQ(DeclareType(R"({"type":"string","default":null,"description":""})"), "  a?: string");
}

TEST(ToolTypeScript, Parameters) {
  for (const char* nothing : {"null", "{}", R"({"type":"object"})"})
    EXPECT_EQ(DeclareParameters(nothing), "type f = (_: {}) => any;\n");
  EXPECT_EQ(DeclareParameters(
                R"({"properties":{"b":{"type":"string"},"a":{"type":"null"}},"required":["b"]})"),
            "type f = (_: {\n  b: string,\n  a?: null\n}) => any;\n");
}

TEST(ToolTypeScript, References) {
  EXPECT_EQ(DeclareParameters(R"({"$defs":{"P":{"type":"object","description":"A point.",
              "properties":{"x":{"type":"number"}}}},"properties":{"p":{"$ref":"#/$defs/P"}}})"),
            "// A point.\ninterface P {\n  x?: number\n}\n"
            "type f = (_: {\n  p?: P\n}) => any;\n");
  // The interface of the parameters keeps the order of the keys; an object type does not.
  EXPECT_EQ(DeclareParameters(
                R"({"properties":{"a":{"$ref":"#"},"b":{"type":"string"}},"required":["b"]})"),
            "interface parameters {\n  a?: parameters,\n  b: string\n}\n"
            "type f = (_: parameters) => any;\n");
}

TEST(ToolTypeScript, WhatHasNoFormGivesNothing) {
  for (const char* schema :
       {R"({"oneOf":[{"type":"string"}]})", R"({"$ref":"#/$defs/None"})", R"({"$ref":"other"})",
        R"({"$ref":5})", R"("string")", "null", "[1]", R"({"type":5})", R"({"anyOf":3})",
        R"({"enum":["a"],"type":"integer"})", R"({"enum":[1],"type":["string","integer"]})",
        R"({"enum":[[1]]})", R"({"type":["string","thing"]})",
        R"({"type":"string","description":7})", R"({"type":"object","properties":[]})",
        R"({"type":"object","additionalProperties":1})",
        R"({"type":"array","items":[{"type":"string"}]})"})
    EXPECT_EQ(DeclareType(schema), "") << schema;
  EXPECT_EQ(DeclareParameters(R"({"properties":{},"required":7})"), "");
  EXPECT_EQ(DeclareParameters(R"({"$defs":{"X":true},"properties":{}})"), "");
  EXPECT_EQ(DeclareParameters("\"x\""), "");
  for (const char* tools :
       {"[]", "{}", "null", "[1]", R"([{"type":"other"}])",
        R"([{"type":"function","function":{}}])", R"([{"function":{"name":"f"}}])"})
    EXPECT_EQ(Declare(tools), "") << tools;
  std::string deep = "{}";
  for (int i = 0; i < 200; ++i) deep = R"({"type":"array","items":)" + deep + "}";
  EXPECT_EQ(DeclareType(deep), "");
}

}  // namespace
}  // namespace tandem
