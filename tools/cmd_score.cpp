// `tandem score`: log-probabilities of given tokens; a perplexity tool.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tools/command.h"
#include "tools/engine_flags.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

struct ScoreOptions {
  EngineFlags engine;
  std::string ids_path;
  bool json = false;
};

struct Totals {
  double nll = 0;  // natural log, summed
  int64_t tokens = 0;
  void Add(const Totals& other) { nll += other.nll, tokens += other.tokens; }
  double mean() const { return tokens > 0 ? nll / tokens : 0.0; }
};

// {"ids": [...]} or {"text": "..."}; other keys are ignored.
absl::StatusOr<std::vector<int32_t>> ParseLine(const std::string& line,
                                               const Tokenizer& tokenizer) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  if (auto ids = json.find("ids"); ids != json.end()) {
    std::vector<int32_t> result;
    if (!ids->is_array()) return absl::InvalidArgumentError("\"ids\" is not an array");
    for (const Json& id : *ids) {
      if (!id.is_number_integer()) return absl::InvalidArgumentError("\"ids\" holds a non-integer");
      result.push_back(id.get<int32_t>());
    }
    return result;
  }
  if (auto text = json.find("text"); text != json.end() && text->is_string())
    return tokenizer.Encode(text->get<std::string>(), /*parse_special=*/false);
  return absl::InvalidArgumentError("neither \"ids\" nor \"text\"");
}

Json ToJson(const std::vector<TokenScore>& scores, const Totals& totals) {
  Json tokens = Json::array();
  for (size_t i = 0; i < scores.size(); ++i) {
    Json top = Json::array();
    for (const TopLogprob& t : scores[i].top) top.push_back({{"id", t.id}, {"logprob", t.logprob}});
    tokens.push_back({{"id", scores[i].id},
                      {"logprob", i == 0 ? Json(nullptr) : Json(scores[i].logprob)},
                      {"top", std::move(top)}});
  }
  return {{"nll", totals.mean()}, {"scored_tokens", totals.tokens}, {"tokens", std::move(tokens)}};
}

absl::StatusOr<Totals> ScoreLine(Engine& engine, const std::string& line, bool json) {
  TANDEM_ASSIGN_OR_RETURN(auto ids, ParseLine(line, engine.tokenizer()));
  TANDEM_ASSIGN_OR_RETURN(auto scores, engine.Score(ids));
  Totals totals;
  for (size_t i = 1; i < scores.size(); ++i) totals.Add({-scores[i].logprob, 1});
  if (json) std::cout << ToJson(scores, totals).dump() << "\n";
  return totals;
}

int Score(const ScoreOptions& options) {
  std::ifstream file;
  if (options.ids_path != "-") {
    file.open(options.ids_path);
    if (!file) return Fail(absl::NotFoundError(absl::StrCat("cannot open ", options.ids_path)));
  }
  std::istream& in = options.ids_path == "-" ? std::cin : file;
  auto engine = Engine::Create(options.engine.ToOptions());
  if (!engine.ok()) return Fail(engine.status());

  Totals all;
  int line_number = 0, failures = 0;
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto totals = ScoreLine(**engine, line, options.json);
    if (totals.ok()) {
      all.Add(*totals);
    } else {
      ++failures;
      std::fprintf(stderr, "%s:%d: %s\n", options.ids_path.c_str(), line_number,
                   std::string(totals.status().message()).c_str());
    }
  }
  if (options.json) {
    std::cout << Json{{"nll", all.mean()},
                      {"perplexity", std::exp(all.mean())},
                      {"scored_tokens", all.tokens}}
                     .dump()
              << "\n";
  } else {
    std::printf("nll %.6f  perplexity %.4f  over %lld tokens\n", all.mean(), std::exp(all.mean()),
                static_cast<long long>(all.tokens));
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace

void AddScore(Commands& commands) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* sub = commands.Add(
      "score", "log-probability and top 5 of every given token, and the mean NLL",
      "  tandem score MODEL --ids heldout.jsonl          one {\"ids\": [...]} or {\"text\": ...} a "
      "line\n"
      "  tandem score MODEL --ids heldout.jsonl --json   a line of tokens each, the totals last");
  options->engine.AddTo(sub);
  sub->add_option("--ids", options->ids_path, "JSON lines; - reads standard input")->required();
  sub->add_flag("--json", options->json, "print every token's score");
  commands.OnRun(sub, [options] { return Score(*options); });
}

}  // namespace tandem
