// Bad conversations give INVALID_ARGUMENT with the place, and nothing crashes.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <limits>
#include <random>

#include "engine/text/chat_format.h"
#include "tests/engine_text/tiny_tokenizer.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

class ChatErrorsTest : public ::testing::Test {
 protected:
  void ExpectError(const Json& messages, const std::string& message, const Json& tools = nullptr,
                   ChatStyle style = ChatStyle::kK26) const {
    ChatOptions options;
    options.style = style;
    const absl::Status status = RenderChat(*tokenizer_, messages, tools, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_EQ(std::string(status.message()), message);
  }
  // One message, given as JSON text.
  void ExpectMessageError(const std::string& message, const std::string& error) const {
    ExpectError(Json::array({Json::parse(message)}), error);
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = testing::MakeTinyTokenizer();
};

TEST_F(ChatErrorsTest, Messages) {
  ExpectError(Json::object(), "messages: expected a list, found object");
  ExpectError(nullptr, "messages: expected a list, found null");
  ExpectError({{{"role", "user"}}, 5}, "messages[1]: expected an object, found number");
  ExpectMessageError("{}", "messages[0].role: missing or empty");
  ExpectMessageError(R"({"role":""})", "messages[0].role: missing or empty");
  ExpectMessageError(R"({"role":5})", "messages[0].role: expected a string, found number");
  ExpectMessageError(R"({"role":"user","name":[]})",
                     "messages[0].name: expected a string, found array");
  ExpectMessageError(R"({"role":"user","content":1})",
                     "messages[0].content: expected a string or a list of parts, found number");
  ExpectMessageError(R"({"role":"user","content":["x"]})",
                     "messages[0].content[0]: expected an object, found string");
  ExpectMessageError(R"({"role":"user","content":[{"type":"text","text":"x"},{"text":"y"}]})",
                     "messages[0].content[1].type: missing or empty");
  ExpectMessageError(R"({"role":"user","content":[{"type":"text"}]})",
                     "messages[0].content[0]: text is missing");
  ExpectMessageError(R"({"role":"user","content":[{"type":"audio"}]})",
                     "messages[0].content[0]: unknown type \"audio\" without a text");
  ExpectMessageError(R"({"role":"user","content":[{"type":"text","text":{}}]})",
                     "messages[0].content[0].text: expected a string, found object");
  ExpectMessageError(R"({"role":"assistant","reasoning":1})",
                     "messages[0].reasoning: expected a string, found number");
  ExpectMessageError(R"({"role":"tool","content":"x"})",
                     "messages[0].tool_call_id: missing or empty");
}

TEST_F(ChatErrorsTest, ToolCallsAndPartial) {
  const auto with_calls = [](const std::string& calls) {
    return R"({"role":"assistant","tool_calls":)" + calls + "}";
  };
  ExpectMessageError(with_calls("{}"), "messages[0].tool_calls: expected a list, found object");
  ExpectMessageError(with_calls("[1]"),
                     "messages[0].tool_calls[0]: expected an object, found number");
  ExpectMessageError(with_calls(R"([{"function":{}}])"),
                     "messages[0].tool_calls[0].id: missing or empty");
  ExpectMessageError(with_calls(R"([{"id":"a"}])"), "messages[0].tool_calls[0].function: missing");
  ExpectMessageError(
      with_calls(R"([{"id":"a","function":{"arguments":[]}}])"),
      "messages[0].tool_calls[0].function.arguments: expected a string or an object, "
      "found array");
  ExpectMessageError(R"({"role":"user","tool_calls":[{"id":"a","function":{}}]})",
                     "messages[0].tool_calls: only the assistant calls tools");
  ExpectMessageError(R"({"role":"user","partial":true})",
                     "messages[0].partial: only a last message of the assistant can be continued");
  ExpectMessageError(R"({"role":"assistant","partial":"yes"})",
                     "messages[0].partial: expected true or false, found string");
  ExpectMessageError(
      R"({"role":"assistant","partial":true,"tool_calls":[{"id":"a","function":{}}]})",
      "messages[0].partial: a message with tool calls cannot be continued");
  ExpectError(Json::parse(R"([{"role":"assistant","partial":true},{"role":"user"}])"),
              "messages[0].partial: only a last message of the assistant can be continued");
}

TEST_F(ChatErrorsTest, ToolsAndValues) {
  const Json none = Json::array();
  ExpectError(none, "tools: expected a list, found object", Json::object());
  ExpectError(none, "tools[1]: expected an object, found string", {{{"type", "x"}}, "y"});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ExpectError(none, "tools[0]: a number is not finite", Json::array({Json{{"x", {nan}}}}));
  Json call = {{"id", "a"}, {"function", {{"arguments", {{"x", nan}}}}}};
  ExpectError({{{"role", "assistant"}, {"tool_calls", Json::array({call})}}},
              "messages[0].tool_calls[0].function.arguments: a number is not finite");
  const Json deep = Json::parse(std::string(100'000, '[') + std::string(100'000, ']'));
  Json tools = Json::parse(R"([{"type": "function"}])");
  tools[0]["x"] = Json::parse(std::string(300, '[') + std::string(300, ']'));
  ExpectError(none, "tools[0]: nested deeper than 100 levels", tools);
  ExpectError(deep, "messages[0]: expected an object, found array");
}

TEST_F(ChatErrorsTest, WhatAStyleCannotDo) {
  ExpectError(Json::parse(R"([{"role":"user","content":[{"type":"image"}]}])"),
              "messages[0].content: this model reads text only", nullptr, ChatStyle::kK2Instruct);
  ExpectError(Json::array(), "tools: this model has no tool format", Json::parse("[{}]"),
              ChatStyle::kMoonlight);
}

TEST_F(ChatErrorsTest, AMissingControlTokenIsNamed) {
  const testing::TempFolder folder;
  const std::vector<std::string> tokens = testing::TinyTokens();
  auto names = testing::KimiNames(static_cast<int>(tokens.size()));
  names.erase(static_cast<int>(tokens.size()) + 22);  // <think>
  folder.Write("tiktoken.model", testing::TiktokenLines(tokens));
  folder.Write("tokenizer_config.json", testing::TokenizerConfig(names));
  const auto tokenizer = Tokenizer::Load(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const absl::Status status = RenderChat(**tokenizer, Json::array(), nullptr, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("<think>"), absl::string_view::npos) << status;
  EXPECT_EQ(ChatStyleFor("kimi_k2", **tokenizer).value(), ChatStyle::kK2Instruct);
}

// A random value of the kinds that conversations are made of.
Json RandomValue(std::mt19937& random, int depth) {
  static const char* const kKeys[] = {
      "role", "content", "tool_calls", "function", "arguments",  "id",         "type",
      "text", "name",    "partial",    "enum",     "properties", "parameters", "anyOf",
      "$ref", "$defs",   "items",      "required", "default",    "description"};
  static const char* const kTexts[] = {"assistant", "user",  "tool",   "function",
                                       "object",    "array", "string", "#",
                                       "",          "text",  "image",  "#/$defs/a"};
  switch (random() % (depth > 0 ? 9 : 5)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int>(random() % 5);
    case 3:
    case 4:
      return kTexts[random() % std::size(kTexts)];
    case 5: {
      Json list = Json::array();
      for (int n = static_cast<int>(random() % 4); n > 0; --n)
        list.push_back(RandomValue(random, depth - 1));
      return list;
    }
    default: {
      Json object = Json::object();
      for (int n = static_cast<int>(random() % 6); n > 0; --n)
        object[kKeys[random() % std::size(kKeys)]] = RandomValue(random, depth - 1);
      return object;
    }
  }
}

// Gives one random place of `value` a random value.
void Mutate(Json& value, std::mt19937& random) {
  if (value.is_structured() && !value.empty() && random() % 6 != 0) {
    auto member = value.begin();
    std::advance(member, static_cast<std::ptrdiff_t>(random() % value.size()));
    return Mutate(*member, random);
  }
  value = RandomValue(random, 3);
}

TEST_F(ChatErrorsTest, MutatedConversationsNeverBreakIt) {
  const Json good = Json::parse(R"({"messages": [
      {"role": "user", "name": "n", "content": [{"type": "text", "text": "q"}]},
      {"role": "assistant", "reasoning": "r", "content": "c", "tool_calls": [
        {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]},
      {"role": "tool", "tool_call_id": "functions.f:0", "content": "ok"},
      {"role": "assistant", "content": "L", "partial": true}],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {
      "type": "object", "$defs": {"a": {"type": "object", "properties": {"x": {"type": "array",
      "items": {"type": "string", "maxLength": 3}}}}}, "required": ["p"], "properties": {
      "p": {"$ref": "#/$defs/a"}, "q": {"enum": ["a", 1]}, "r": {"anyOf": [{"type": "integer",
      "minimum": 1}, {"type": ["string", "null"]}]}, "s": {"$ref": "#"}}}}}]})");
  std::mt19937 random(9);
  int n_good = 0, n_bad = 0;
  for (int round = 0; round < 5'000; ++round) {
    Json chat = good;
    for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n)
      Mutate(random() % 2 ? chat["messages"] : chat["tools"], random);
    const auto rendered = RenderChat(*tokenizer_, chat["messages"], chat["tools"], {});
    if (rendered.ok()) {
      ++n_good;
      ASSERT_EQ(tokenizer_->DecodeBytes(rendered->ids, false), rendered->text) << chat;
    } else {
      ++n_bad;
      ASSERT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument) << chat;
      ASSERT_FALSE(rendered.status().message().empty()) << chat;
    }
  }
  EXPECT_GT(n_good, 500);
  EXPECT_GT(n_bad, 500);
}

}  // namespace
}  // namespace tandem
