// Pieces of XGrammar's EBNF that every JSON grammar here is put together of.
//
// Free where JSON is free, with three exceptions that let any model come to an end: at most
// kMaxBlanks blanks in a row, and only where a JSON writer puts them (not before ':' and ','); at
// most 15 digits before and after the point of a number, two in its exponent; no lone surrogates.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

inline constexpr int kMaxBlanks = 24;  // a line break and an indentation of 23

// The rules that all grammars share: json_value, json_object, json_array, json_string, json_number,
// json_ws and what they use. Rules of a grammar's own must not begin with "json_".
const std::string& JsonRules();

// Of one JSON object of any content.
std::string AnyObjectGrammar();

// `bytes` (valid UTF-8) as a literal of the grammar.
std::string GrammarLiteral(std::string_view bytes);

}  // namespace tandem
