// A batch's input: lines, what is wrong with them, shards, order.
#include "service/batch/job_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/batch/batch_order.h"
#include "service/batch/job_line.h"
#include "tests/service/batch/job_lines.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct BadLine {
  const char* name;
  std::string text;
  const char* why;
};

std::vector<BadLine> BadLines() {
  const std::string rest = R"("method":"POST","url":"/v1/completions","body":{}})";
  return {
      {"no_json", "hello", "not valid JSON"},
      {"half_json", R"({"custom_id":"a",)", "not valid JSON"},
      {"two_values", "{} {}", "not valid JSON"},
      {"bad_utf8", "{\"custom_id\":\"\xff\"," + rest, "not valid JSON"},
      {"twice_a_key", R"({"custom_id":"a","custom_id":"b",)" + rest, "twice in one object"},
      {"no_object", "[1]", "is array; expected an object"},
      {"no_custom_id", "{" + rest, "custom_id is missing"},
      {"custom_id_number", R"({"custom_id":7,)" + rest, "custom_id is 7; expected a string"},
      {"custom_id_empty", R"({"custom_id":"",)" + rest,
       "custom_id is \"\"; expected a string of 1"},
      {"custom_id_long", R"({"custom_id":")" + std::string(513, 'x') + "\"," + rest,
       "expected a string of 1 to 512 bytes"},
      {"method", R"({"custom_id":"a","method":"GET","url":"/v1/completions","body":{}})",
       "method is \"GET\"; expected \"POST\""},
      {"no_method", R"({"custom_id":"a","url":"/v1/completions","body":{}})", "method is missing"},
      {"url", R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}})",
       "url is \"/v1/embeddings\"; expected one of /v1/chat/completions"},
      {"no_body", R"({"custom_id":"a","method":"POST","url":"/v1/completions"})",
       "body is missing"},
      {"body_text", R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":"x"})",
       "body is \"x\"; expected an object"},
      {"unknown_field", R"({"custom_id":"a","metdata":1,)" + rest, "metdata"},
      {"deep", R"({"custom_id":"a","x":)" + std::string(100, '[') + std::string(100, ']') + "}",
       "nested too deeply"},
  };
}

TEST(JobLine, SaysWhatIsWrong) {
  for (const BadLine& bad : BadLines()) {
    const JobLine line = ParseJobLine(bad.text, {}, "");
    EXPECT_TRUE(absl::IsInvalidArgument(line.error)) << bad.name;
    EXPECT_THAT(std::string(line.error.message()), HasSubstr(bad.why)) << bad.name;
  }
}

TEST(JobLine, KeepsTheCustomIdOfABadLine) {
  const JobLine line =
      ParseJobLine(R"({"custom_id":"a","method":"PUT","url":"/tokenize","body":{}})", {}, "");
  EXPECT_FALSE(line.error.ok());
  EXPECT_EQ(line.custom_id, "a");
}

TEST(JobLine, AcceptsOnlyTheBatchsEndpoint) {
  const std::string text = R"({"custom_id":"a","method":"POST","url":"/tokenize","body":{}})";
  EXPECT_TRUE(ParseJobLine(text, {}, "/tokenize").error.ok());
  EXPECT_THAT(std::string(ParseJobLine(text, {}, "/v1/completions").error.message()),
              HasSubstr("expected \"/v1/completions\""));
}

class JobFileTest : public testing::Test {
 protected:
  absl::StatusOr<JobFile> Scan(const std::string& text, Shard shard = {}) {
    WriteFile(dir_.File("in"), text);
    return JobFile::Scan({dir_.File("in"), shard, ""}, limits_);
  }

  TempDir dir_;
  Limits limits_;
};

TEST_F(JobFileTest, FindsLinesWhateverSeparatesThem) {
  const std::string a = CompletionLine("a", "x"), b = CompletionLine("b", "y");
  const auto file = Scan("\n  \n" + a + "\r\n" + b.substr(0, b.size() - 1) + "\r\n\nnonsense");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->items().size(), 3u);
  EXPECT_EQ(file->items()[0].line, 3);
  EXPECT_EQ(file->items()[1].line, 5);
  EXPECT_EQ(*file->Read(file->items()[1]) + "\n", b);
  EXPECT_FALSE(file->items()[1].malformed);
  EXPECT_EQ(file->items()[2].line, 7);
  EXPECT_TRUE(file->items()[2].malformed);
  EXPECT_EQ(*file->Read(file->items()[2]), "nonsense");
}

TEST_F(JobFileTest, AnInputWithoutRequestsIsAnError) {
  EXPECT_TRUE(absl::IsInvalidArgument(Scan("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Scan("\n \n").status()));
  EXPECT_TRUE(absl::IsNotFound(JobFile::Scan({dir_.File("none"), {}, ""}, limits_).status()));
}

TEST_F(JobFileTest, LongLinesAreFoundButNotKept) {
  limits_.max_message_bytes = 1000;
  const std::string exact = CompletionLine("a", "x");
  const std::string filler(1000 - (exact.size() - 1), 'x');
  const auto file = Scan(CompletionLine("a", "x" + filler) + CompletionLine("b", "xx" + filler) +
                         CompletionLine("c", std::string(3 << 20, 'x')) + CompletionLine("d", "y"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->items().size(), 4u);
  EXPECT_FALSE(file->items()[0].too_long);
  EXPECT_TRUE(file->items()[1].too_long);
  EXPECT_TRUE(file->items()[2].too_long);
  EXPECT_FALSE(file->items()[3].malformed);
  EXPECT_EQ(*file->Read(file->items()[3]) + "\n", CompletionLine("d", "y"));
}

TEST_F(JobFileTest, TheSecondOfACustomIdIsADuplicate) {
  const auto file =
      Scan(CompletionLine("a", "x") + CompletionLine("b", "y") + CompletionLine("a", "z"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->items()[0].duplicate_of, 0u);
  EXPECT_EQ(file->items()[2].duplicate_of, 1u);
}

TEST_F(JobFileTest, ShardsPartTheFile) {
  std::string text;
  for (int i = 0; i < 11; ++i) text += CompletionLine(absl::StrCat(i), "x") + "\n";
  std::vector<bool> seen(11);
  for (int32_t index = 1; index <= 3; ++index) {
    const auto file = Scan(text, {index, 3});
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->all_items(), 11);
    for (size_t place = 0; place < file->items().size(); ++place) {
      const JobItem& item = file->items()[place];
      EXPECT_EQ(item.index / 3, static_cast<int64_t>(place));
      EXPECT_FALSE(seen[item.index]);
      seen[item.index] = true;
    }
  }
  EXPECT_THAT(seen, testing::Each(true));
}

TEST_F(JobFileTest, AChangedFileIsNoticed) {
  const std::string text = CompletionLine("a", "x") + CompletionLine("b", "y");
  const auto before = Scan(text);
  const auto after = Scan(CompletionLine("a", "z") + CompletionLine("b", "y"));
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_NE(before->fingerprint(), after->fingerprint());
  EXPECT_TRUE(absl::IsFailedPrecondition(before->Read(before->items()[0]).status()));
  EXPECT_TRUE(before->Read(before->items()[1]).ok());
  WriteFile(dir_.File("in"), "");
  EXPECT_TRUE(absl::IsFailedPrecondition(before->Read(before->items()[1]).status()));
}

TEST(Shard, IsReadStrictly) {
  EXPECT_EQ(*Shard::Parse("2/8"), (Shard{2, 8}));
  for (const char* bad : {"", "2", "0/8", "9/8", "2/0", "-1/2", "a/b", "1/2/3", "1/ 2x"})
    EXPECT_TRUE(absl::IsInvalidArgument(Shard::Parse(bad).status())) << bad;
}

// Items by their prompts and lengths of answers, in the chosen order.
std::vector<std::string> Ordered(const std::vector<std::pair<std::string, int>>& requests) {
  TempDir dir;
  std::string text;
  std::vector<uint32_t> places;
  for (const auto& [prompt, max_tokens] : requests) {
    text += CompletionLine(absl::StrCat(places.size()), prompt, max_tokens);
    places.push_back(static_cast<uint32_t>(places.size()));
  }
  WriteFile(dir.File("in"), text);
  const auto file = JobFile::Scan({dir.File("in"), {}, ""}, {});
  std::vector<std::string> order;
  for (const uint32_t place : ChooseOrder(file->items(), places))
    order.push_back(absl::StrCat(requests[place].first.substr(0, 1), place));
  return order;
}

TEST(BatchOrder, WhatBeginsAlikeStaysTogetherAndTheLargestGoesFirst) {
  const std::string a(3000, 'a'), b(3000, 'b');
  EXPECT_THAT(Ordered({{a + "1", 10}, {b + "1", 10}, {a + "2", 20}, {b + "2", 900}, {a + "3", 15}}),
              ElementsAre("b3", "b1", "a2", "a4", "a0"));
}

TEST(BatchOrder, GroupsWithinGroups) {
  const std::string common(300, 'c');
  const std::string left = common + std::string(2000, 'l'), right = common + std::string(2000, 'r');
  EXPECT_THAT(
      Ordered({{left + "1", 5}, {right + "1", 50}, {left + "2", 9}, {right + "2", 1}, {"z", 7}}),
      ElementsAre("c1", "c3", "c2", "c0", "z4"));
}

TEST(BatchOrder, LongAnswersDoNotComeLast) {
  const auto order = Ordered({{"x", 1}, {"y", 4000}, {"z", 1}, {"w", 0}});
  EXPECT_EQ(order[0], "y1");
  EXPECT_EQ(order[1], "w3") << "an answer without a limit counts as a middling one";
}

}  // namespace
}  // namespace tandem
