#include "engine/constrain/json_grammar.h"

#include "absl/strings/str_cat.h"

namespace tandem {

// json_chars calls itself for every character, and says what follows it: XGrammar then knows most
// tokens' fate in advance.
const std::string& JsonRules() {
  static const std::string rules = absl::StrCat(R"(
json_ws ::= [ \n\r\t]{0,)",
                                                kMaxBlanks, R"(}
json_string ::= "\"" json_chars
json_chars ::= ("\"" | [ !#-\[\]-\ud7ff\ue000-\U0010ffff] json_chars | "\\" json_escape json_chars) (=[ \n\r\t]* [,:}\]])
json_escape ::= ["\\/bfnrt] | "u" json_code_unit
json_code_unit ::= [0-9a-cA-CefEF] json_hex json_hex json_hex | [dD] [0-7] json_hex json_hex | [dD] [89abAB] json_hex json_hex "\\u" [dD] [c-fC-F] json_hex json_hex
json_hex ::= [0-9a-fA-F]
json_digits ::= [0-9]{1,15}
json_natural ::= "0" | [1-9] [0-9]{0,14}
json_integer ::= "-"? json_natural
json_number ::= json_integer ("." json_digits)? ([eE] [+\-]? [0-9]{1,2})?
json_value ::= json_object | json_array | json_string | json_number | "true" | "false" | "null"
json_member ::= json_string ":" json_ws json_value
json_object ::= "{" json_ws (json_member ("," json_ws json_member)* json_ws)? "}"
json_array ::= "[" json_ws (json_value ("," json_ws json_value)* json_ws)? "]"
)");
  return rules;
}

std::string AnyObjectGrammar() { return absl::StrCat("root ::= json_object\n", JsonRules()); }

std::string GrammarLiteral(std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string literal = "\"";
  for (const unsigned char c : bytes) {
    if (c == '"' || c == '\\') {
      literal += '\\';
      literal += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7f) {
      literal += "\\u00";
      literal += kHex[c >> 4];
      literal += kHex[c & 15];
    } else {
      literal += static_cast<char>(c);
    }
  }
  return literal + '"';
}

}  // namespace tandem
