// Any bytes as a form: the first line is its Content-Type, the rest its body. Refused with a
// sentence, or parts that lie within the body, one behind the other.
#include <cstdlib>
#include <string>

#include "service/http/multipart.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  if (end == text.npos) return 0;
  const std::string_view body = std::string_view(text).substr(end + 1);
  const auto parts = ParseForm(text.substr(0, end), body);
  if (!parts.ok() && parts.status().message().empty()) std::abort();
  if (!parts.ok()) return 0;
  if (parts->empty() || parts->size() > kMaxFormParts) std::abort();
  const char* at = body.data();
  for (const FormPart& part : *parts) {
    if (part.name.empty() || part.content.data() < at) std::abort();
    at = part.content.data() + part.content.size();
    if (at > body.data() + body.size()) std::abort();
  }
  return 0;
}
