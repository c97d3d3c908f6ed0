// Stand-in for GoogleTest, as much of it as the tests of GPU code use; test_main.cpp runs them.
#pragma once

#include <cmath>
#include <memory>
#include <ranges>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace testing {

class Message {
 public:
  template <class T>
  Message& operator<<(const T& value) {
    text_ << value;
    return *this;
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
};
inline std::ostream& operator<<(std::ostream& out, const Message& message) {
  return out << message.text();
}

class Test {
 public:
  virtual ~Test() = default;
  virtual void SetUp() {}
  virtual void TearDown() {}
  virtual void TestBody() = 0;
  static bool IsSkipped();  // the running test
};

namespace standin {

// What happened to the running test. Failures may come from any thread.
void Fail(const char* file, int line, const std::string& text, bool fatal);
void Skip(const std::string& text);
int FatalFailures();
void PushTrace(const std::string& text);
void PopTrace();

using Maker = std::unique_ptr<Test> (*)();
bool Register(const char* suite, const char* name, Maker maker);

struct Failure {
  const char* file;
  int line;
  std::string text;
  bool fatal;
  void operator=(const Message& message) const { Fail(file, line, text + message.text(), fatal); }
};
struct Skipped {
  void operator=(const Message& message) const { Skip(message.text()); }
};
struct Trace {
  explicit Trace(const auto& text) { PushTrace((Message() << text).text()); }
  ~Trace() { PopTrace(); }
};

template <class T>
void Print(std::ostream& out, const T& value) {
  if constexpr (requires { out << value; }) {
    out << value;
  } else if constexpr (std::ranges::range<T>) {
    out << "{";
    int n = 0;
    for (const auto& element : value) {
      if (n == 16) out << " ...";
      if (n++ < 16) Print(out << ' ', element);
    }
    out << " }";
  } else if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else {
    out << "(an object)";
  }
}

// Empty if `holds`.
template <class A, class B>
std::string Compare(bool holds, const char* text, const A& a, const B& b) {
  if (holds) return "";
  std::ostringstream out;
  out << text << " does not hold: ";
  Print(out, a);
  Print(out << " and ", b);
  out << ' ';
  return out.str();
}

inline std::string Near(double a, double b, double bound, const char* text) {
  return Compare(std::fabs(a - b) <= bound, text, a, b);
}

}  // namespace standin

struct HasSubstr {
  explicit HasSubstr(std::string part) : part(std::move(part)) {}
  std::string part;
};
namespace standin {
inline std::string Contains(const std::string& text, const HasSubstr& want) {
  return Compare(text.find(want.part) != std::string::npos, "contains", text, want.part);
}
}  // namespace standin

}  // namespace testing

// `problem`: empty, or what is wrong. A fatal one leaves the function.
#define TANDEM_STANDIN_CHECK(problem, fatal, leave)                                  \
  switch (0)                                                                         \
  case 0:                                                                            \
  default:                                                                           \
    if (const std::string tandem_problem = (problem); tandem_problem.empty())        \
      ;                                                                              \
    else                                                                             \
      leave ::testing::standin::Failure{__FILE__, __LINE__, tandem_problem, fatal} = \
          ::testing::Message()

#define TANDEM_STANDIN_COMPARE(a, op, b)                                                  \
  [&](const auto& tandem_a, const auto& tandem_b) {                                       \
    return ::testing::standin::Compare(tandem_a op tandem_b, #a " " #op " " #b, tandem_a, \
                                       tandem_b);                                         \
  }(a, b)
#define TANDEM_STANDIN_TRUE(c) ::testing::standin::Compare(static_cast<bool>(c), #c, "", "")
#define TANDEM_STANDIN_NEAR(a, b, bound) \
  ::testing::standin::Near(a, b, bound, "|" #a " - " #b "| <= " #bound)

#define EXPECT_EQ(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, ==, b), false, )
#define EXPECT_NE(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, !=, b), false, )
#define EXPECT_LT(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, <, b), false, )
#define EXPECT_LE(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, <=, b), false, )
#define EXPECT_GT(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, >, b), false, )
#define EXPECT_GE(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, >=, b), false, )
#define EXPECT_TRUE(c) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_TRUE(c), false, )
#define EXPECT_FALSE(c) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_TRUE(!(c)), false, )
#define EXPECT_NEAR(a, b, e) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_NEAR(a, b, e), false, )
#define EXPECT_THAT(value, matcher) \
  TANDEM_STANDIN_CHECK(::testing::standin::Contains(value, matcher), false, )
#define ASSERT_EQ(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, ==, b), true, return )
#define ASSERT_LT(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, <, b), true, return )
#define ASSERT_LE(a, b) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_COMPARE(a, <=, b), true, return )
#define ASSERT_TRUE(c) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_TRUE(c), true, return )
#define ASSERT_NEAR(a, b, e) TANDEM_STANDIN_CHECK(TANDEM_STANDIN_NEAR(a, b, e), true, return )
#define ASSERT_NO_FATAL_FAILURE(statement)                            \
  do {                                                                \
    const int tandem_before = ::testing::standin::FatalFailures();    \
    statement;                                                        \
    if (::testing::standin::FatalFailures() != tandem_before) return; \
  } while (0)
#define GTEST_SKIP() return ::testing::standin::Skipped{} = ::testing::Message()

#define TANDEM_STANDIN_CONCAT_INNER(a, b) a##b
#define TANDEM_STANDIN_CONCAT(a, b) TANDEM_STANDIN_CONCAT_INNER(a, b)
#define SCOPED_TRACE(text) \
  const ::testing::standin::Trace TANDEM_STANDIN_CONCAT(tandem_trace, __LINE__)(text)

#define TANDEM_STANDIN_TEST(suite, name, parent)                                           \
  class suite##_##name##_Test : public parent {                                            \
    void TestBody() override;                                                              \
  };                                                                                       \
  [[maybe_unused]] static const bool suite##_##name##_registered =                         \
      ::testing::standin::Register(#suite, #name, []() -> std::unique_ptr<testing::Test> { \
        return std::make_unique<suite##_##name##_Test>();                                  \
      });                                                                                  \
  void suite##_##name##_Test::TestBody()
#define TEST(suite, name) TANDEM_STANDIN_TEST(suite, name, ::testing::Test)
#define TEST_F(suite, name) TANDEM_STANDIN_TEST(suite, name, suite)
