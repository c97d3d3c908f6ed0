// What XGrammar has to say. Its errors become exceptions, which engine/constrain catches; its
// warnings are dropped, because they quote schemas, and logs hold nothing of requests.
#include <stdexcept>
#include <string>

namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string&, int, const std::string& message) {
  throw std::runtime_error(message);
}

void LogMessageImpl(const std::string&, int, int, const std::string&) {}

}  // namespace xgrammar
