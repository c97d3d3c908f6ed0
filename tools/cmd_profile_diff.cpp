// tandem profile diff: how differently two recordings use a model's experts.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "placement/profile_file.h"
#include "placement/profile_merge.h"
#include "tools/command.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string a, b;
  double top_percent = 10;
  bool by_label = false, layers = false, json = false;
};

Json ToJson(const LayerDifference& d) {
  return {{"jensen_shannon_bits", d.jensen_shannon},
          {"top_overlap", d.top_overlap},
          {"rank_correlation", d.rank_correlation}};
}

Json ToJson(const CountsDifference& d) {
  Json layers = Json::array();
  for (const LayerDifference& layer : d.layers) layers.push_back(ToJson(layer));
  return {{"label", d.name},
          {"tokens", {d.tokens_a, d.tokens_b}},
          {"mean", ToJson(d.mean)},
          {"layers", std::move(layers)}};
}

void Print(const std::string& what, const LayerDifference& d) {
  std::printf("%-24s %10.4f %12.3f %12.3f\n", what.c_str(), d.jensen_shannon, d.top_overlap,
              d.rank_correlation);
}

void Print(const ProfileDifference& diff, int first_layer, const Options& options) {
  std::printf("%lld and %lld tokens; 0, 1 and 1 mean: no difference\n",
              static_cast<long long>(diff.overall.tokens_a),
              static_cast<long long>(diff.overall.tokens_b));
  std::printf("%-24s %10s %5.0f %% overlap %12s\n", "mean over the layers", "JS bits",
              diff.top_fraction * 100, "ranks");
  Print("all", diff.overall.mean);
  for (const CountsDifference& label : diff.labels)
    Print("label \"" + label.name + "\"", label.mean);
  for (size_t i = 0; options.layers && i < diff.overall.layers.size(); ++i)
    Print("layer " + std::to_string(first_layer + i), diff.overall.layers[i]);
}

int Diff(const Options& options) {
  const auto a = ReadProfile(options.a), b = ReadProfile(options.b);
  if (!a.ok()) return Fail(a.status());
  if (!b.ok()) return Fail(b.status());
  if (const auto same = CheckSameModel("profile " + options.b, b->model, a->model); !same.ok())
    return Fail(same);
  const auto diff = DiffProfiles(
      *a, *b, {.top_fraction = options.top_percent / 100, .by_label = options.by_label});
  if (!diff.ok()) return Fail(diff.status());
  if (options.json) {
    Json labels = Json::array();
    for (const CountsDifference& label : diff->labels) labels.push_back(ToJson(label));
    const Json all = {{"top_fraction", diff->top_fraction},
                      {"overall", ToJson(diff->overall)},
                      {"labels", std::move(labels)}};
    std::printf("%s\n", all.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    Print(*diff, a->model.dense_layers, options);
  }
  return 0;
}

}  // namespace

void AddProfileDiff(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo("profile", "diff", "how differently two profiles use the experts",
                                 "  tandem profile diff code.profile german.profile --layers\n"
                                 "  tandem profile diff mon.profile tue.profile --by-label --json");
  sub->add_option("a", options->a)->required();
  sub->add_option("b", options->b)->required();
  sub->add_option("--top", options->top_percent, "per cent of a layer's experts that are compared")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str();
  sub->add_flag("--by-label", options->by_label, "labels of the same name as well");
  sub->add_flag("--layers", options->layers, "every layer as well");
  sub->add_flag("--json", options->json, "everything, as JSON");
  commands.OnRun(sub, [options] { return Diff(*options); });
}

}  // namespace tandem
