#include "service/http/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr char kType[] = "multipart/form-data; boundary=XX";

std::string PartOf(const std::string& head, const std::string& content) {
  return absl::StrCat("--XX\r\n", head, "\r\n\r\n", content, "\r\n");
}

std::string ErrorOf(const std::string& type, const std::string& body) {
  const auto parts = ParseForm(type, body);
  EXPECT_FALSE(parts.ok()) << body;
  return parts.ok() ? "" : std::string(parts.status().message());
}

TEST(MultipartTest, PartsAreTakenApart) {
  const std::string body =
      PartOf("Content-Disposition: form-data; name=\"purpose\"", "batch") +
      PartOf(
          "content-disposition:form-data;name=file; filename=\"a \\\"b\\\".jsonl\"\r\n"
          "Content-Type: application/octet-stream",
          "{}\r\n--X\r\n") +
      "--XX--\r\nand something more";
  for (const char* type : {kType, "multipart/form-data;boundary=\"XX\"; charset=utf-8"}) {
    const auto parts = ParseForm(type, body);
    ASSERT_TRUE(parts.ok()) << parts.status();
    ASSERT_EQ(parts->size(), 2u);
    EXPECT_EQ((*parts)[0].name, "purpose");
    EXPECT_EQ((*parts)[0].filename, "");
    EXPECT_EQ((*parts)[0].content, "batch");
    EXPECT_EQ((*parts)[1].name, "file");
    EXPECT_EQ((*parts)[1].filename, "a \"b\".jsonl");
    EXPECT_EQ((*parts)[1].content, "{}\r\n--X\r\n") << "nearly a boundary is none";
    EXPECT_EQ((*parts)[1].content.data(), body.data() + body.find("{}")) << "nothing is copied";
  }
}

TEST(MultipartTest, AnEmptyPartIsOne) {
  const auto parts =
      ParseForm(kType, PartOf("Content-Disposition: form-data; name=\"file\"", "") + "--XX--");
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->front().content, "");
}

TEST(MultipartTest, BadOnesAreErrors) {
  const std::string good = PartOf("Content-Disposition: form-data; name=\"file\"", "x");
  for (const char* type :
       {"", "multipart/form-data",
        "multipart/form-data; boundary=", "multipart/form-data; boundary=\"XX",
        "multipart/form-data; boundary=\x01", "multipart/form-data; boundary=XX; boundary=YY"}) {
    EXPECT_THAT(ErrorOf(type, good + "--XX--"), HasSubstr("the form")) << type;
  }
  EXPECT_THAT(ErrorOf(std::string("multipart/form-data; boundary=") + std::string(71, 'b'), good),
              HasSubstr("1 to 70"));
  EXPECT_THAT(ErrorOf(kType, ""), HasSubstr("begin"));
  EXPECT_THAT(ErrorOf(kType, "x" + good + "--XX--"), HasSubstr("begin"));
  EXPECT_THAT(ErrorOf(kType, "--XX--"), HasSubstr("no parts"));
  EXPECT_THAT(ErrorOf(kType, good), HasSubstr("end with its boundary"));
  EXPECT_THAT(ErrorOf(kType, good + "--XX"), HasSubstr("followed by something else"));
  EXPECT_THAT(ErrorOf(kType, good + "--XXy"), HasSubstr("followed by something else"));
  EXPECT_THAT(ErrorOf(kType, PartOf("Content-Type: text/plain", "x") + "--XX--"),
              HasSubstr("without a name"));
  EXPECT_THAT(ErrorOf(kType, PartOf("Content-Disposition: attachment; name=a", "x") + "--XX--"),
              HasSubstr("not form-data"));
  EXPECT_THAT(ErrorOf(kType, PartOf("Content-Disposition: form-data; name=\"a", "x") + "--XX--"),
              HasSubstr("well-formed"));
  EXPECT_THAT(ErrorOf(kType, PartOf("Content-Disposition: form-data; name=a; name=b", "x")),
              HasSubstr("twice"));
  EXPECT_THAT(ErrorOf(kType, PartOf("Content-Disposition: form-data; name=a\r\n"
                                    "Content-Transfer-Encoding: base64",
                                    "x")),
              HasSubstr("encoded"));
  EXPECT_THAT(ErrorOf(kType, "--XX\r\n" + std::string(10'000, 'h')), HasSubstr("4096"));
  std::string many;
  for (size_t i = 0; i <= kMaxFormParts; ++i) many += good;
  EXPECT_THAT(ErrorOf(kType, many + "--XX--"), HasSubstr("more than 16 parts"));
}

// Bodies that are made to be slow, and bodies of chance: the result is a result or an error, soon.
TEST(MultipartTest, NastyBodiesCostLittle) {
  const std::string boundary(70, '-');
  const std::string type = "multipart/form-data; boundary=" + boundary;
  std::string body = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
  const std::string nearly = "\r\n--" + boundary.substr(1) + "x";
  while (body.size() < (16 << 20)) body += nearly;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(ErrorOf(type, body), HasSubstr("end with its boundary"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(MultipartTest, MutatedFormsDoNoHarm) {
  const std::string good = PartOf("Content-Disposition: form-data; name=\"purpose\"", "batch") +
                           PartOf("Content-Disposition: form-data; name=\"file\"", "{}\n") +
                           "--XX--\r\n";
  std::mt19937 random(7);
  size_t accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string body = good;
    for (int edits = static_cast<int>(random() % 4); edits >= 0; --edits) {
      const size_t at = random() % body.size();
      if (random() % 3 == 0) {
        body.erase(at, 1 + random() % 8);
      } else {
        body[at] = "\r\n-X\";=: a"[random() % 10];
      }
      if (body.empty()) body = "-";
    }
    const auto parts = ParseForm(kType, body);
    if (!parts.ok()) continue;
    ++accepted;
    for (const FormPart& part : *parts) {
      EXPECT_GE(part.content.data(), body.data());
      EXPECT_LE(part.content.data() + part.content.size(), body.data() + body.size());
    }
  }
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace tandem
