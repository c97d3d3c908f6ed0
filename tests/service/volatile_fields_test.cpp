// Which fields of a prompt are taken out, and above all which are not.
#include "service/api/volatile_fields.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

Json Message(const char* role, Json content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// The first message's content after the rules.
Json Cleaned(Json content) {
  const Json messages = {Message("system", content), Message("user", "hi")};
  const auto cleaned = WithoutVolatileFields(messages);
  if (!cleaned) return content;
  EXPECT_EQ((*cleaned)[1], messages[1]);
  return (*cleaned)[0]["content"];
}

constexpr char kBilling[] =
    "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;";
constexpr char kTokens[] = "<total_tokens>14999436 tokens left</total_tokens>";

TEST(VolatileFields, TheBillingLineGoes) {
  EXPECT_EQ(Cleaned(std::string(kBilling) + "\n\nYou are an agent."), "You are an agent.");
  EXPECT_EQ(Cleaned(std::string(kBilling) + "\nYou are\n\nan agent."), "You are\n\nan agent.");
  EXPECT_EQ(Cleaned(kBilling), "");
  const Json parts = {{{"type", "text"}, {"text", kBilling}}, {{"type", "text"}, {"text", "Rest"}}};
  EXPECT_EQ(Cleaned(parts)[0]["text"], "");
  EXPECT_EQ(Cleaned(parts)[1]["text"], "Rest");
}

TEST(VolatileFields, TheBillingLineOnlyAtTheVeryBeginning) {
  for (const std::string& text :
       {"See: " + std::string(kBilling), "\n" + std::string(kBilling),
        std::string("X-anthropic-billing-header: cch=1;"), std::string("x-anthropic-billing")}) {
    EXPECT_EQ(Cleaned(text), text);
  }
}

TEST(VolatileFields, MarkersGoWithTheSpaceInFront) {
  EXPECT_EQ(Cleaned(std::string("Rules.\n\n") + kTokens), "Rules.");
  EXPECT_EQ(
      Cleaned(std::string("Rules.\n") + kTokens + "\n<total_tokens>7 tokens left</total_tokens>"),
      "Rules.");
  EXPECT_EQ(Cleaned(std::string("Rules.") + kTokens + " More."), "Rules. More.");
}

TEST(VolatileFields, WhatOnlyLooksLikeAMarkerStays) {
  for (const char* text :
       {"<total_tokens>", "<total_tokens> tokens left</total_tokens>",
        "<total_tokens>1,000 tokens left</total_tokens>", "<total_tokens>12</total_tokens>",
        "<total_tokens>-1 tokens left</total_tokens>", "<total_tokens>5 tokens left",
        "<total_tokens>123456789012345678901 tokens left</total_tokens>", "<<total_tokens>x",
        "Today is 2026-11-23 10:15."}) {
    EXPECT_EQ(Cleaned(text), text);
  }
}

TEST(VolatileFields, OtherRolesAreNeverTouched) {
  const std::string both = std::string(kBilling) + "\n" + kTokens;
  for (const char* role : {"user", "assistant", "tool"}) {
    EXPECT_FALSE(WithoutVolatileFields({Message(role, both)})) << role;
    EXPECT_FALSE(WithoutVolatileFields({Message("system", "S"), Message(role, both)})) << role;
  }
  // Nor a system message within the conversation, nor the billing line of a second one.
  EXPECT_FALSE(WithoutVolatileFields({Message("user", "u"), Message("system", both)}));
  EXPECT_FALSE(WithoutVolatileFields({Message("system", "S"), Message("system", kBilling)}));
}

TEST(VolatileFields, MalformedMessagesAreLeftToOthers) {
  for (const Json& messages :
       {Json(nullptr), Json("text"), Json::array(), Json{nullptr}, Json{{{"role", 5}}},
        Json{{{"role", "system"}}}, Json{{{"role", "system"}, {"content", {1, nullptr, "x"}}}},
        Json{{{"role", "system"}, {"content", {{{"type", "image"}}}}}}}) {
    EXPECT_FALSE(WithoutVolatileFields(messages)) << messages;
  }
}

// Two requests of an agent that differ in nothing else are the same prompt.
TEST(VolatileFields, TwoRequestsOfAnAgentAgree) {
  const auto request = [](const char* cch, int left) {
    return Cleaned("x-anthropic-billing-header: cc_version=2.1.1." + std::string(cch) +
                   "; cch=" + cch + ";\n\nBe good.\n<total_tokens>" + std::to_string(left) +
                   " tokens left</total_tokens>");
  };
  EXPECT_EQ(request("0aaa9", 15000000), request("71fea", 3));
}

TEST(VolatileFields, RandomTextsLoseNothingElse) {
  std::mt19937 random(6);
  const char* kPieces[] = {"<total_tokens>",
                           "12",
                           " tokens left",
                           "</total_tokens>",
                           "\n",
                           " ",
                           "a",
                           "x-anthropic-billing-header:",
                           "<",
                           ";"};
  for (int round = 0; round < 2000; ++round) {
    std::string text = "begin ";
    for (int i = 0; i < 12; ++i) text += kPieces[random() % std::size(kPieces)];
    text += " end";
    std::string expected = text;  // the rule again, by another way: cut out one after the other
    const std::string marker = "<total_tokens>12 tokens left</total_tokens>";
    for (size_t at; (at = expected.find(marker)) != std::string::npos;) {
      size_t begin = at;
      while (begin > 0 && (expected[begin - 1] == ' ' || expected[begin - 1] == '\n')) --begin;
      // A mark keeps the two sides from making up a new marker.
      expected.replace(begin, at + marker.size() - begin, "\x01");
    }
    std::erase(expected, '\x01');
    std::string longer = text;  // "1212 tokens left" is a marker, too
    if (longer.find("1212") != std::string::npos) continue;
    ASSERT_EQ(Cleaned(text), expected) << text;
  }
}

TEST(VolatileFields, TimeIsLinear) {
  std::string text = "begin";
  while (text.size() < (4 << 20)) text += "<total_tokens>";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Cleaned(text), text);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

}  // namespace
}  // namespace tandem
