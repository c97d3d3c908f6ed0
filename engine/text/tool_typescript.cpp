// Prints tool declarations in the TypeScript form that Kimi was trained on (kimi_k26: TypeScript
// tool declaration).
#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/text/chat_format.h"
#include "engine/text/python_json.h"
#include "engine/text/tool_schema.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string PrintType(const SchemaType& type, const std::string& indent);

// Each line behind "// "; empty lines stay empty.
std::string CommentLines(const std::string& text, const std::string& indent) {
  std::string out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (begin > 0) out += '\n';
    if (end > begin) absl::StrAppend(&out, indent, "// ", text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// Description and constraints above a type; ends with a newline unless it is empty.
std::string DocOf(const SchemaType& type, const std::string& indent) {
  std::string doc;
  if (!type.description.empty()) doc += CommentLines(type.description, indent) + "\n";
  if (!type.constraints.empty()) absl::StrAppend(&doc, indent, "// ", type.constraints, "\n");
  return doc;
}

std::string PrintField(const SchemaField& field, const std::string& indent) {
  std::string out = DocOf(field.type, indent);
  if (field.default_text) absl::StrAppend(&out, indent, "// Default: ", *field.default_text, "\n");
  absl::StrAppend(&out, indent, field.name, field.optional ? "?" : "", ": ",
                  PrintType(field.type, indent));
  return out;
}

std::string JoinEntries(const std::vector<std::string>& entries) {
  std::string out;
  for (const std::string& entry : entries) absl::StrAppend(&out, out.empty() ? "" : ",\n", entry);
  return out;
}

// Required fields first, each group by name.
std::string PrintObject(const SchemaType& type, const std::string& indent) {
  std::vector<const SchemaField*> fields;
  for (const SchemaField& field : type.fields) fields.push_back(&field);
  std::stable_sort(fields.begin(), fields.end(), [](const SchemaField* a, const SchemaField* b) {
    return a->optional != b->optional ? b->optional : a->name < b->name;
  });
  const std::string inner = indent + "  ";
  std::vector<std::string> entries;
  for (const SchemaField* field : fields) entries.push_back(PrintField(*field, inner));
  for (const SchemaType& other : type.additional)
    entries.push_back(inner + "[k: string]: " + PrintType(other, inner));
  if (entries.empty()) return "{}";
  return "{\n" + JoinEntries(entries) + "\n" + indent + "}";
}

std::string PrintArray(const SchemaType& type, const std::string& indent) {
  const SchemaType& item = type.members.front();
  const std::string inner = indent + "  ";
  const std::string doc = DocOf(item, inner);
  if (doc.empty()) return "Array<" + PrintType(item, indent) + ">";
  return absl::StrCat("Array<\n", doc, inner, PrintType(item, inner), "\n", indent, ">");
}

std::string PrintType(const SchemaType& type, const std::string& indent) {
  switch (type.kind) {
    case SchemaType::Kind::kText:
      return type.text;
    case SchemaType::Kind::kObject:
      return PrintObject(type, indent);
    case SchemaType::Kind::kArray:
      return PrintArray(type, indent);
    case SchemaType::Kind::kAnyOf:
      break;
  }
  std::string out;
  for (size_t i = 0; i < type.members.size(); ++i)
    absl::StrAppend(&out, i == 0 ? "" : " | ", PrintType(type.members[i], indent));
  return out;
}

// "interface parameters {...}": fields in the order of the schema, unlike in an object type.
std::string PrintRootInterface(const SchemaType& object) {
  std::vector<std::string> entries;
  for (const SchemaField& field : object.fields) entries.push_back(PrintField(field, "  "));
  const std::string body = JoinEntries(entries);
  return absl::StrCat("interface parameters {", body.empty() ? "" : "\n" + body + "\n", "}");
}

std::string PrintDefinition(const SchemaDefinition& definition) {
  const std::string doc =
      definition.description.empty() ? "" : CommentLines(definition.description, "") + "\n";
  return doc + "interface " + definition.name + " " + PrintType(definition.type, "");
}

absl::StatusOr<std::string> PrintFunction(const Json& function) {
  if (!function.is_object()) return absl::UnimplementedError("a function that is no object");
  const Json name = function.contains("name") ? function["name"] : Json("function");
  if (name.is_structured()) return absl::UnimplementedError("a function name that is no text");
  const Json parameters = function.contains("parameters") ? function["parameters"] : Json();
  TANDEM_ASSIGN_OR_RETURN(const std::string description, DescriptionOf(function));
  TANDEM_ASSIGN_OR_RETURN(const ParametersSchema schema, ParseParameters(parameters));

  std::string out;
  if (schema.refers_to_itself) out += PrintRootInterface(schema.object) + "\n";
  for (const SchemaDefinition& definition : schema.definitions)
    out += PrintDefinition(definition) + "\n";
  if (!description.empty()) out += CommentLines(description, "") + "\n";
  const std::string argument =
      schema.refers_to_itself ? "parameters" : PrintType(schema.object, "");
  return absl::StrCat(out, "type ", PythonStr(name), " = (_: ", argument, ") => any;");
}

// The functions, joined by newlines.
absl::StatusOr<std::string> PrintFunctions(const Json& tools) {
  std::string functions;
  for (const Json& tool : tools) {
    if (!tool.is_object()) return absl::UnimplementedError("a tool that is no object");
    if (!tool.contains("type") || tool["type"] != "function") continue;
    if (!tool.contains("function") || tool["function"].empty()) continue;
    TANDEM_ASSIGN_OR_RETURN(const std::string function, PrintFunction(tool["function"]));
    functions += function + "\n";
  }
  return functions;
}

}  // namespace

std::string ToolsToTypeScript(const Json& sorted_tools) {
  if (!sorted_tools.is_array() || !CheckPrintable(sorted_tools, "tools").ok()) return "";
  const absl::StatusOr<std::string> functions = PrintFunctions(sorted_tools);
  if (!functions.ok() || functions->empty()) return "";
  return "# Tools\n\n## functions\nnamespace functions {\n" + *functions + "}\n";
}

}  // namespace tandem
