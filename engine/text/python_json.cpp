#include "engine/text/python_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::Status CheckLevel(const Json& value, const std::string& where, int depth) {
  const auto error = [&](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
  };
  if (depth > kMaxJsonDepth)
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": nested deeper than ", kMaxJsonDepth, " levels"));
  if (value.is_number_float() && !std::isfinite(value.get<double>()))
    return error("a number is not finite");
  if (value.is_discarded() || value.is_binary()) return error("not a JSON value");
  if (!value.is_structured()) return absl::OkStatus();
  for (const Json& member : value) TANDEM_RETURN_IF_ERROR(CheckLevel(member, where, depth + 1));
  return absl::OkStatus();
}

// repr(value): the shortest digits that read back as `value`; an exponent below -4 and from 16 on.
std::string FloatRepr(double value) {
  char buffer[40];
  const auto printed =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const std::string_view text(buffer, printed.ptr - buffer);
  const size_t e = text.find('e');
  int exponent = 0;
  const char* exponent_begin = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, printed.ptr, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);

  const bool negative = text[0] == '-';
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  const int n_digits = static_cast<int>(digits.size());
  if (exponent < 0) {
    digits.insert(0, static_cast<size_t>(-exponent), '0');
    digits.insert(1, 1, '.');
  } else if (n_digits <= exponent + 1) {
    digits.append(static_cast<size_t>(exponent + 1 - n_digits), '0');
    digits += ".0";
  } else {
    digits.insert(static_cast<size_t>(exponent + 1), 1, '.');
  }
  return negative ? "-" + digits : digits;
}

void AppendQuoted(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

struct Separators {
  std::string_view item, key;
};

void Append(const Json& value, const Separators& separators, std::string& out) {
  if (value.is_object()) {
    std::string_view before = "{";
    for (const auto& [key, member] : value.items()) {
      out += before;
      AppendQuoted(key, out);
      out += separators.key;
      Append(member, separators, out);
      before = separators.item;
    }
    out += value.empty() ? "{}" : "}";
  } else if (value.is_array()) {
    std::string_view before = "[";
    for (const Json& member : value) {
      out += before;
      Append(member, separators, out);
      before = separators.item;
    }
    out += value.empty() ? "[]" : "]";
  } else if (value.is_string()) {
    AppendQuoted(value.get_ref<const std::string&>(), out);
  } else if (value.is_boolean()) {
    out += value.get<bool>() ? "true" : "false";
  } else if (value.is_null()) {
    out += "null";
  } else {
    out += PythonStr(value);
  }
}

}  // namespace

absl::Status CheckPrintable(const Json& value, const std::string& where) {
  return CheckLevel(value, where, 1);
}

std::string DumpSpaced(const Json& value) {
  std::string out;
  Append(value, {", ", ": "}, out);
  return out;
}

std::string DumpCompact(const Json& value) {
  std::string out;
  Append(value, {",", ":"}, out);
  return out;
}

std::string PythonStr(const Json& value) {
  TANDEM_CHECK(!value.is_structured(), "PythonStr prints scalars only");
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_null()) return "None";
  if (value.is_number_unsigned()) return absl::StrCat(value.get<uint64_t>());
  if (value.is_number_integer()) return absl::StrCat(value.get<int64_t>());
  return FloatRepr(value.get<double>());
}

Json DeepSorted(const Json& value) {
  if (value.is_array()) {
    Json sorted = Json::array();
    for (const Json& member : value) sorted.push_back(DeepSorted(member));
    return sorted;
  }
  if (!value.is_object()) return value;
  // The order of UTF-8 bytes is the order of code points.
  std::vector<std::string> keys;
  for (const auto& [key, member] : value.items()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  Json sorted = Json::object();
  for (const std::string& key : keys) sorted[key] = DeepSorted(value.at(key));
  return sorted;
}

}  // namespace tandem
