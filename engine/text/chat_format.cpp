#include "engine/text/chat_format.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/text/call_ids.h"
#include "engine/text/chat_message.h"
#include "engine/text/prompt_builder.h"
#include "engine/text/python_json.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kKimiSystem[] = "You are Kimi, an AI assistant created by Moonshot AI.";

struct StyleRules {
  const char* default_system;  // put first unless the conversation begins with one; may be null
  bool thinks;                 // assistant turns begin with a think pair
  bool prompt_opens_think;     // the generation prompt holds <think>; thinking can be switched off
  bool tools;
  bool tools_in_typescript;
  bool media;
};

StyleRules RulesOf(ChatStyle style) {
  switch (style) {
    case ChatStyle::kK26:
      return {nullptr, true, true, true, true, true};
    case ChatStyle::kK2Thinking:
      return {kKimiSystem, true, false, true, false, false};
    case ChatStyle::kK2Instruct:
      return {kKimiSystem, false, false, true, false, false};
    case ChatStyle::kMoonlight:
      break;
  }
  return {"You are a helpful assistant", false, false, false, false, false};
}

class ChatRenderer {
 public:
  ChatRenderer(const Tokenizer& tokenizer, const ChatOptions& options)
      : rules_(RulesOf(options.style)), options_(options), prompt_(tokenizer) {
    if (!rules_.prompt_opens_think) {
      options_.thinking = true;
      options_.preserve_thinking = false;
    }
  }

  absl::Status Render(const std::vector<ChatMessage>& messages, const Json& tools);
  absl::StatusOr<RenderedChat> Finish(bool trust_special_text) {
    TANDEM_ASSIGN_OR_RETURN(RenderedChat rendered, prompt_.Finish(trust_special_text));
    rendered.in_reasoning = in_reasoning_;
    return rendered;
  }

 private:
  absl::Status RenderTools(const Json& tools);
  void RenderMessage(const ChatMessage& message, bool keep_reasoning);
  void RenderThinking(const ChatMessage& message, bool keep_reasoning);
  void RenderContent(const std::vector<ContentPart>& content);
  void RenderToolCalls(const std::vector<ChatToolCall>& calls);
  void RenderGenerationPrompt();
  void BeginTurn(const std::string& role, const std::string& name);
  void EndTurn() { prompt_.Control("<|im_end|>"); }
  int FindLastAnswer(const std::vector<ChatMessage>& messages) const;

  StyleRules rules_;
  ChatOptions options_;
  PromptBuilder prompt_;
  bool in_reasoning_ = false;
};

absl::Status CheckMedia(const std::vector<ChatMessage>& messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    for (const ContentPart& part : messages[i].content) {
      if (part.kind != ContentPart::Kind::kText)
        return absl::InvalidArgumentError(
            absl::StrCat("messages[", i, "].content: this model reads text only"));
    }
  }
  return absl::OkStatus();
}

void ChatRenderer::BeginTurn(const std::string& role, const std::string& name) {
  if (role == "user") {
    prompt_.Control("<|im_user|>");
  } else if (role == "assistant") {
    prompt_.Control("<|im_assistant|>");
  } else {
    prompt_.Control("<|im_system|>");
  }
  prompt_.Text(name);
  prompt_.Control("<|im_middle|>");
}

absl::Status ChatRenderer::RenderTools(const Json& tools) {
  if (tools.is_null()) return absl::OkStatus();
  if (!tools.is_array())
    return absl::InvalidArgumentError(
        absl::StrCat("tools: expected a list, found ", tools.type_name()));
  if (tools.empty()) return absl::OkStatus();
  if (!rules_.tools) return absl::InvalidArgumentError("tools: this model has no tool format");
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string where = absl::StrCat("tools[", i, "]");
    if (!tools[i].is_object())
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected an object, found ", tools[i].type_name()));
    TANDEM_RETURN_IF_ERROR(CheckPrintable(tools[i], where));
  }
  const Json sorted = DeepSorted(tools);
  std::string declaration = rules_.tools_in_typescript ? ToolsToTypeScript(sorted) : "";
  if (declaration.empty()) declaration = DumpCompact(sorted);
  BeginTurn("system", "tool_declare");
  prompt_.Text(declaration);
  EndTurn();
  return absl::OkStatus();
}

void ChatRenderer::RenderContent(const std::vector<ContentPart>& content) {
  for (const ContentPart& part : content) {
    switch (part.kind) {
      case ContentPart::Kind::kText:
        prompt_.Text(part.text);
        break;
      case ContentPart::Kind::kImage:
        prompt_.Control("<|media_begin|>");
        prompt_.Text("image");
        prompt_.Control("<|media_content|>");
        prompt_.Control("<|media_pad|>");
        prompt_.Control("<|media_end|>");
        prompt_.Text("\n");
        break;
      // Plain text: whoever feeds the frames replaces it before encoding.
      case ContentPart::Kind::kVideo:
        prompt_.Text("<|kimi_k25_video_placeholder|>\n");
        break;
    }
  }
}

void ChatRenderer::RenderToolCalls(const std::vector<ChatToolCall>& calls) {
  if (calls.empty()) return;
  prompt_.Control("<|tool_calls_section_begin|>");
  for (const ChatToolCall& call : calls) {
    prompt_.Control("<|tool_call_begin|>");
    prompt_.Text(call.id);
    prompt_.Control("<|tool_call_argument_begin|>");
    prompt_.Text(call.arguments);
    prompt_.Control("<|tool_call_end|>");
  }
  prompt_.Control("<|tool_calls_section_end|>");
}

void ChatRenderer::RenderThinking(const ChatMessage& message, bool keep_reasoning) {
  if (!rules_.thinks) return;
  const bool instant = !options_.thinking && !options_.preserve_thinking;
  const std::string& reasoning = message.reasoning;
  prompt_.Control("<think>");
  if (keep_reasoning && !instant) {
    prompt_.Text(reasoning);
    in_reasoning_ = message.partial && !reasoning.empty() && message.content.empty();
    if (in_reasoning_) return;  // goes on
  }
  prompt_.Control("</think>");
}

void ChatRenderer::RenderMessage(const ChatMessage& message, bool keep_reasoning) {
  BeginTurn(message.role, message.TurnName());
  if (message.IsAssistant()) RenderThinking(message, keep_reasoning);
  if (message.role == "tool") prompt_.Text("## Return of " + message.tool_call_id + "\n");
  RenderContent(message.content);
  RenderToolCalls(message.tool_calls);
  if (!message.partial) EndTurn();
}

// Index of the last assistant message that ends its turn: reasoning up to there is dropped.
int ChatRenderer::FindLastAnswer(const std::vector<ChatMessage>& messages) const {
  if (options_.preserve_thinking) return -1;
  for (int i = static_cast<int>(messages.size()) - 1; i >= 0; --i) {
    const ChatMessage& message = messages[i];
    if (message.IsAssistant() && message.tool_calls.empty() && !message.partial) return i;
  }
  return -1;
}

void ChatRenderer::RenderGenerationPrompt() {
  BeginTurn("assistant", "assistant");
  if (!rules_.prompt_opens_think) return;
  prompt_.Control("<think>");
  in_reasoning_ = options_.thinking;
  if (!in_reasoning_) prompt_.Control("</think>");
}

absl::Status ChatRenderer::Render(const std::vector<ChatMessage>& messages, const Json& tools) {
  if (!rules_.media) TANDEM_RETURN_IF_ERROR(CheckMedia(messages));
  TANDEM_RETURN_IF_ERROR(RenderTools(tools));
  const bool has_system = !messages.empty() && messages.front().role == "system";
  if (rules_.default_system != nullptr && !has_system) {
    BeginTurn("system", "system");
    prompt_.Text(rules_.default_system);
    EndTurn();
  }
  const int last_answer = FindLastAnswer(messages);
  for (int i = 0; i < static_cast<int>(messages.size()); ++i)
    RenderMessage(messages[i], /*keep_reasoning=*/i > last_answer);
  const bool continues = !messages.empty() && messages.back().partial;
  if (options_.add_generation_prompt && !continues) RenderGenerationPrompt();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatStyle> ChatStyleFor(const std::string& model_type, const Tokenizer& tokenizer) {
  const bool has_think = tokenizer.SpecialId("<think>").has_value();
  if (model_type == "kimi_k25") return ChatStyle::kK26;
  if (model_type.empty()) return has_think ? ChatStyle::kK26 : ChatStyle::kK2Instruct;
  if (model_type == "kimi_k2") return has_think ? ChatStyle::kK2Thinking : ChatStyle::kK2Instruct;
  if (model_type == "deepseek_v3") return ChatStyle::kMoonlight;
  return absl::InvalidArgumentError("no chat format is known for model_type \"" + model_type +
                                    "\"");
}

absl::StatusOr<RenderedChat> RenderChat(const Tokenizer& tokenizer, const Json& messages,
                                        const Json& tools, const ChatOptions& options,
                                        bool trust_special_text) {
  TANDEM_ASSIGN_OR_RETURN(std::vector<ChatMessage> parsed, ParseMessages(messages));
  const int32_t calls = NormaliseCallIds(parsed);
  ChatRenderer renderer(tokenizer, options);
  TANDEM_RETURN_IF_ERROR(renderer.Render(parsed, tools));
  TANDEM_ASSIGN_OR_RETURN(RenderedChat rendered, renderer.Finish(trust_special_text));
  rendered.next_call_index = calls;
  return rendered;
}

}  // namespace tandem
