// Watches what decoding uses and says which hot experts to exchange: slowly, and only where that
// pays. Decides only; engine/hot_adaptation.h carries it out, and the simulator (simulator.h)
// replays traces against this same class.
//
//   p_e     = sum over decoded tokens, d tokens ago, of [token used e] * 2^(-d / half_life), over
//             the same sum of 2^(-d / half_life): how many of the tokens use the expert
//   gain    = horizon * (p_in - p_out) * cpu_expert_s        seconds saved over the horizon
//   a swap pays if  gain > margin * send_expert_s  and  p_in > hysteresis * p_out  and
//             p_in - p_out > sigmas * sqrt((p_in + p_out) * noise),
//             noise = sum of squared weights / (sum of weights)^2: one over the tokens that p
//             rests on, so that chance alone moves nothing
//
// An expert that came in, or went out, stays there for the dwell time. Time is decoded tokens: no
// clock, so the same tokens give the same swaps. One thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.h"
#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

struct AdapterOptions {
  double half_life_tokens = 4096;
  int64_t dwell_tokens = 4096;
  double hysteresis = 1.25;
  double sigmas = 4;
  double margin = 2;
  int64_t interval_tokens = 64;          // between rounds
  int32_t max_swaps = 16;                // of a round
  int64_t max_bytes = int64_t{1} << 30;  // of a round
  int64_t horizon_tokens = 16384;        // over which a swap has to pay
  double cpu_expert_s = 24.8e6 / 200e9;  // one token's use of a cold expert
  double send_expert_s = 24.8e6 / 40e9;  // one expert to the GPU
};

struct ExpertSwap {
  LayerId layer;
  ExpertId out, in;
  double gain_s = 0;  // over the horizon; the cost of sending is not taken off
  int64_t bytes = 0;
  bool operator==(const ExpertSwap&) const = default;
};

class ExpertAdapter : public RoutingObserver {
 public:
  // `hot` [layers]: what is hot now.
  ExpertAdapter(const ModelIdentity& model, const std::vector<std::vector<ExpertId>>& hot,
                const AdapterOptions& options);

  void BeginStep(std::span<const RoutedRow> rows) override;
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
              View<const float, 2> weights) override;
  void EndStep() override;

  // Whether a round is due.
  bool due() const { return tokens_ >= next_round_; }
  // The next round: the swaps with most gain, at most so many swaps and bytes, none of them twice
  // the same expert. Each counts as under way until Done() or Dropped().
  std::vector<ExpertSwap> Propose();
  void Done(const ExpertSwap& swap);     // it has taken effect: the dwell time begins
  void Dropped(const ExpertSwap& swap);  // it will not

  bool IsHot(LayerId layer, ExpertId expert) const { return at(layer, expert).hot; }
  // p_e as above.
  double Use(LayerId layer, ExpertId expert) const;
  int64_t decoded_tokens() const { return tokens_; }
  const AdapterOptions& options() const { return options_; }

 private:
  struct Expert {
    double weight = 0;          // of the tokens that used it
    int64_t settled_until = 0;  // neither in nor out before; in decoded tokens
    bool hot = false;
    bool under_way = false;
  };
  const Expert& at(LayerId layer, ExpertId expert) const {
    return experts_[int64_t{layer.value} * model_.experts + expert.value];
  }
  Expert& at(LayerId layer, ExpertId expert) {
    return experts_[int64_t{layer.value} * model_.experts + expert.value];
  }
  double Gain(double p_out, double p_in) const;
  bool Pays(double p_out, double p_in) const;
  void ProposeFor(LayerId layer, std::vector<ExpertSwap>& swaps) const;

  const ModelIdentity model_;
  const AdapterOptions options_;
  const int64_t expert_bytes_;
  const double growth_;          // of a token's weight over that of the one before
  std::vector<Expert> experts_;  // [layers * experts]
  // Of the running step: rows that decode, how many, and what they used (indices of experts_).
  std::vector<uint8_t> decodes_;
  int64_t step_tokens_ = 0;
  std::vector<int32_t> used_;
  // Of the next token, of all tokens so far, of their squares.
  double weight_ = 1, sum_ = 0, sum_of_squares_ = 0;
  int64_t tokens_ = 0;  // decoded
  int64_t next_round_;
};

}  // namespace tandem
