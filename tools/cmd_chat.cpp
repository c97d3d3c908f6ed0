// tandem chat: a conversation in the terminal, with a model in this process or with a server.
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "tools/chat_partner.h"
#include "tools/command.h"
#include "tools/engine_flags.h"
#include "tools/interrupts.h"
#include "tools/terminal_text.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  EngineFlags engine;
  std::string server, prompt, system;
  bool instant = false, thinking = false;
  ChatSettings settings;
  uint64_t seed = 0;
  CLI::Option* seed_option = nullptr;
};

// Writes an answer as it comes: reasoning dimmed, tool calls in brackets.
class AnswerPrinter {
 public:
  void Show(const AnswerPiece& piece) {
    if (piece.kind != kind_) Turn(piece.kind);
    if (piece.kind == AnswerPiece::Kind::kToolCall) {
      Print("\n[" + piece.call_name + "] ");
    } else {
      Print(piece.text);
    }
    std::fflush(stdout);
  }
  void End() {
    Turn(AnswerPiece::Kind::kText);
    std::printf("\n");
    std::fflush(stdout);
  }

 private:
  void Turn(AnswerPiece::Kind kind) {
    using Kind = AnswerPiece::Kind;
    if (kind_ == Kind::kReasoning) std::printf(terminal_ ? "\033[0m\n\n" : "\n\n");
    if (kind == Kind::kReasoning && terminal_) std::printf("\033[2m");
    kind_ = kind;
  }
  void Print(const std::string& text) {
    const std::string shown = terminal_ ? ForTerminal(text) : text;
    std::fwrite(shown.data(), 1, shown.size(), stdout);
  }

  const bool terminal_ = isatty(STDOUT_FILENO) == 1;
  AnswerPiece::Kind kind_ = AnswerPiece::Kind::kText;
};

void PrintUsage(const ChatReply& reply) {
  const Usage& usage = reply.usage;
  if (reply.cancelled) {
    std::fprintf(stderr, "[cancelled]\n");
    return;
  }
  std::fprintf(stderr, "[%d tokens", usage.completion_tokens);
  if (usage.completion_tokens > 1 && usage.decode_s > 0) {
    // The first token is prefill's.
    std::fprintf(stderr, ", %.1f tok/s", (usage.completion_tokens - 1) / usage.decode_s);
  }
  std::fprintf(stderr, "; prompt %d tokens in %.2f s%s]\n", usage.prompt_tokens, usage.prefill_s,
               reply.finish == FinishReason::kLength ? "; cut at the token limit" : "");
}

class Conversation {
 public:
  Conversation(ChatPartner& partner, const Options& options)
      : partner_(partner), options_(options) {
    Restart();
  }

  void Restart() {
    messages_ = Json::array();
    if (!options_.system.empty()) {
      messages_.push_back({{"role", "system"}, {"content", options_.system}});
    }
  }

  // Exit code: 0 answered, 1 failed, 130 cancelled.
  int Say(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    AnswerPrinter printer;
    answering_ = true;
    auto reply = partner_.Ask(messages_, options_.settings,
                              [&](const AnswerPiece& piece) { printer.Show(piece); });
    answering_ = false;
    cancelling_ = false;
    printer.End();
    if (!reply.ok()) {
      messages_.erase(messages_.size() - 1);
      return Fail(reply.status());
    }
    PrintUsage(*reply);
    Json answer = {{"role", "assistant"}, {"content", reply->text}};
    if (!reply->reasoning.empty()) answer["reasoning_content"] = reply->reasoning;
    messages_.push_back(std::move(answer));
    return reply->cancelled ? 130 : 0;
  }

  // Ctrl-C: the first ends the answer under way, any other the program.
  void OnInterrupt() {
    if (!answering_ || cancelling_.exchange(true)) {
      std::fputs("\033[0m\n", stderr);
      std::_Exit(130);
    }
    partner_.Cancel();
  }

 private:
  ChatPartner& partner_;
  const Options& options_;
  Json messages_;
  std::atomic<bool> answering_ = false, cancelling_ = false;
};

int TalkInteractively(Conversation& conversation) {
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) {
    std::fprintf(stderr,
                 "/new forgets the conversation, /quit or Ctrl-D leaves, Ctrl-C ends an "
                 "answer.\n");
  }
  int last = 0;
  for (std::string line;;) {
    if (terminal) std::fprintf(stderr, "\n> ");
    if (!std::getline(std::cin, line) || line == "/quit") return last;
    if (line.empty()) continue;
    if (line == "/new") {
      conversation.Restart();
    } else {
      last = conversation.Say(line);
    }
  }
}

int Talk(ChatPartner& partner, const Options& options) {
  Conversation conversation(partner, options);
  Interrupts interrupts([&](int) { conversation.OnInterrupt(); });
  return options.prompt.empty() ? TalkInteractively(conversation)
                                : conversation.Say(options.prompt);
}

int Chat(Options& options) {
  options.settings.thinking = !options.instant;
  if (options.seed_option->count() > 0) options.settings.sampling.seed = options.seed;
  if (options.server.empty() == options.engine.model.empty()) {
    std::fprintf(stderr, "tandem chat: give either MODEL or --server ADDR; see --help\n");
    return 2;
  }
  if (!options.server.empty()) {
    auto partner = TalkToServer(options.server);
    return partner.ok() ? Talk(**partner, options) : Fail(partner.status());
  }
  auto engine = Engine::Create(options.engine.ToOptions());
  if (!engine.ok()) return Fail(engine.status());
  return Talk(*TalkToEngine(**engine), options);
}

void AddSampling(CLI::App* sub, Options& options) {
  SamplingParams& sampling = options.settings.sampling;
  sub->add_option("--temperature", sampling.temperature, "0 is greedy")->capture_default_str();
  sub->add_option("--top-p", sampling.top_p, "smallest set of tokens with this mass")
      ->capture_default_str();
  sub->add_option("--top-k", sampling.top_k, "that many most likely tokens; 0: all")
      ->capture_default_str();
  sub->add_option("--min-p", sampling.min_p, "relative to the most likely token")
      ->capture_default_str();
  sub->add_option("--repetition-penalty", sampling.repetition_penalty, "1: none")
      ->capture_default_str();
  options.seed_option = sub->add_option("--seed", options.seed, "same seed, same answer");
  sub->add_option("--max-tokens", options.settings.max_tokens, "0: as many as the context allows")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

}  // namespace

void AddChat(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      commands.Add("chat", "talk to MODEL, or to a server",
                   "  tandem chat tools/demo/model\n"
                   "  tandem chat --server 127.0.0.1:50051\n"
                   "  tandem chat MODEL --instant --temperature 0 --prompt \"What is a river?\"");
  options->engine.AddTo(sub, /*model_required=*/false);
  sub->add_option("--server", options->server, "talk to a running `tandem serve`")
      ->type_name("ADDR");
  sub->add_option("--prompt", options->prompt, "one answer to this, then exit");
  sub->add_option("--system", options->system, "system message");
  auto* instant = sub->add_flag("--instant", options->instant, "answer without reasoning");
  sub->add_flag("--thinking", options->thinking, "reason first (the default)")->excludes(instant);
  AddSampling(sub, *options);
  commands.OnRun(sub, [options] { return Chat(*options); });
}

}  // namespace tandem
