// What `tandem bench e2e` prints.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/e2e.h"

namespace tandem {
namespace {

std::string Predicted(double predicted, double measured) {
  if (predicted <= 0 || measured <= 0) return "";
  return absl::StrFormat("; predicted %.4g (%+.0f %%)", predicted,
                         100 * (predicted / measured - 1));
}

std::string StepsText(const E2eResult& result) {
  std::string text;
  for (const StepRate& s : result.steps) {
    const std::string what =
        s.batch == 0 ? absl::StrFormat("prefill of %d tokens", s.context)
                     : absl::StrFormat("decode, %d x %d cached tokens", s.batch, s.context);
    absl::StrAppendFormat(&text, "  %-32s %9.2f tok/s (spread %.0f %%)%s\n", what, s.tok_per_s,
                          100 * s.spread, Predicted(s.predicted_tok_per_s, s.tok_per_s));
  }
  if (!result.predicted_by.empty())
    absl::StrAppend(&text, "predicted by rates ", result.predicted_by, "\n");
  return text;
}

}  // namespace

std::string E2eResult::ToText() const {
  return absl::StrFormat(
             "engine    %s\n"
             "load      %.1f s for %.2f GB, peak RSS %.2f GB (%.2f x the checkpoint)\n"
             "prefill   %.1f tok/s (spread %.0f %%), %.0f GOPS of %.0f%s\n"
             "decode    %.2f tok/s (spread %.0f %%), %.1f GB/s of %.1f: %.0f %% of the "
             "roofline%s\n",
             engine, load_s, checkpoint_bytes / 1e9, peak_rss_bytes / 1e9,
             static_cast<double>(peak_rss_bytes) / checkpoint_bytes, prefill_tok_per_s,
             100 * prefill_spread, prefill_gops, roofline.int8_gops,
             Predicted(predicted_prefill_tok_per_s, prefill_tok_per_s), decode_tok_per_s,
             100 * decode_spread, decode_gb_per_s, roofline.read_gb_per_s,
             100 * decode_fraction_of_roofline,
             Predicted(predicted_decode_tok_per_s, decode_tok_per_s)) +
         StepsText(*this);
}

std::string E2eResult::ToJson() const {
  nlohmann::ordered_json rates = nlohmann::ordered_json::array();
  for (const StepRate& s : steps) {
    rates.push_back({{"phase", s.batch == 0 ? "prefill" : "decode"},
                     {"batch", std::max(1, s.batch)},
                     {"context", s.context},
                     {"tok_per_s", s.tok_per_s},
                     {"spread", s.spread}});
    if (s.predicted_tok_per_s > 0) rates.back()["predicted_tok_per_s"] = s.predicted_tok_per_s;
  }
  nlohmann::ordered_json json{{"engine", engine},
                              {"load_s", load_s},
                              {"checkpoint_bytes", checkpoint_bytes},
                              {"peak_rss_bytes", peak_rss_bytes},
                              {"prefill_tok_per_s", prefill_tok_per_s},
                              {"prefill_spread", prefill_spread},
                              {"prefill_gops", prefill_gops},
                              {"decode_tok_per_s", decode_tok_per_s},
                              {"decode_spread", decode_spread},
                              {"read_bytes_per_token", read_bytes_per_token},
                              {"decode_gb_per_s", decode_gb_per_s},
                              {"decode_fraction_of_roofline", decode_fraction_of_roofline},
                              {"steps", std::move(rates)},
                              {"roofline", nlohmann::ordered_json::parse(roofline.ToJson())}};
  if (!predicted_by.empty()) {
    json["predicted"] = {{"rates", predicted_by},
                         {"prefill_tok_per_s", predicted_prefill_tok_per_s},
                         {"decode_tok_per_s", predicted_decode_tok_per_s}};
  }
  return json.dump(2);
}

}  // namespace tandem
