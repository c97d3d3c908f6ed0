// Expected texts are what CPython prints.
#include "engine/text/python_json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <limits>

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

TEST(PythonJson, FloatsAsRepr) {
  const std::pair<double, const char*> cases[] = {
      {0.5, "0.5"},
      {1.0, "1.0"},
      {-0.0, "-0.0"},
      {100.0, "100.0"},
      {0.0001, "0.0001"},
      {0.00001, "1e-05"},
      {1e15, "1000000000000000.0"},
      {1e16, "1e+16"},
      {123456789.125, "123456789.125"},
      {1.5e300, "1.5e+300"},
      {0.1 + 0.2, "0.30000000000000004"},
      {5e-324, "5e-324"},
      {-2.5e-7, "-2.5e-07"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {9007199254740993.0, "9007199254740992.0"},
      {0.00012345, "0.00012345"}};
  for (const auto& [value, expected] : cases) EXPECT_EQ(PythonStr(Json(value)), expected);
}

TEST(PythonJson, OtherScalars) {
  EXPECT_EQ(PythonStr(true), "True");
  EXPECT_EQ(PythonStr(false), "False");
  EXPECT_EQ(PythonStr(nullptr), "None");
  EXPECT_EQ(PythonStr("a\"b"), "a\"b");
  EXPECT_EQ(PythonStr(-7), "-7");
  EXPECT_EQ(PythonStr(Json::parse("18446744073709551615")), "18446744073709551615");
  EXPECT_EQ(PythonStr(Json::parse("-9223372036854775808")), "-9223372036854775808");
}

TEST(PythonJson, Dumps) {
  const Json value = Json::parse(
      R"({"b": [1, 2.50, null, true, {}], "a": {"é\u0001\n\t\"\\/\u007f": "你\b\f\r"}, "c": []})");
  EXPECT_EQ(DumpSpaced(value),
            "{\"b\": [1, 2.5, null, true, {}], \"a\": "
            "{\"é\\u0001\\n\\t\\\"\\\\/\x7f\": \"你\\b\\f\\r\"}, \"c\": []}");
  EXPECT_EQ(DumpCompact(value),
            "{\"b\":[1,2.5,null,true,{}],\"a\":"
            "{\"é\\u0001\\n\\t\\\"\\\\/\x7f\":\"你\\b\\f\\r\"},\"c\":[]}");
  EXPECT_EQ(DumpCompact(DeepSorted(Json::parse(R"([{"b": {"z": 1, "a": 2}, "a": [2, 1]}])"))),
            R"([{"a":[2,1],"b":{"a":2,"z":1}}])");
}

TEST(PythonJson, RefusesWhatCannotBePrinted) {
  EXPECT_TRUE(CheckPrintable(Json::parse("[[1.5, \"x\"]]"), "x").ok());
  const absl::Status nan =
      CheckPrintable(Json::array({std::numeric_limits<double>::quiet_NaN()}), "tools[2]");
  EXPECT_EQ(nan.message(), "tools[2]: a number is not finite");
  EXPECT_FALSE(CheckPrintable(Json(std::numeric_limits<double>::infinity()), "x").ok());

  const auto nested = [](int depth) {
    return Json::parse(std::string(depth, '[') + std::string(depth, ']'));
  };
  EXPECT_TRUE(CheckPrintable(nested(kMaxJsonDepth), "x").ok());
  EXPECT_EQ(CheckPrintable(nested(kMaxJsonDepth + 1), "x").message(),
            "x: nested deeper than 100 levels");
  EXPECT_FALSE(CheckPrintable(nested(50'000), "x").ok());
}

}  // namespace
}  // namespace tandem
