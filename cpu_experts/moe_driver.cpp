#include "cpu_experts/moe_driver.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tandem {
namespace {

// Pieces handed out per worker: enough to even out the finish, few enough to keep streams long.
constexpr int64_t kPiecesPerWorker = 16;
constexpr int64_t kMostUnitsPerPiece = 64;  // one K2.6 expert's column groups
// Below this many tokens, quantising on the calling thread is quicker than waking the team.
constexpr int64_t kSerialQuantizeTokens = 2;

int64_t Grain(int64_t units, int workers) {
  return std::clamp<int64_t>(units / (workers * kPiecesPerWorker), 1, kMostUnitsPerPiece);
}

}  // namespace

absl::StatusOr<MoeDriver> MoeDriver::Create(const MoeDriverShape& shape, const KernelTable& kernel,
                                            WorkerTeam& team) {
  MoeDriver driver;
  driver.shape_ = shape;
  if (shape.expert_stride == 0) driver.shape_.expert_stride = shape.layout.bytes();
  driver.kernel_ = &kernel;
  driver.mode_ = kernel.mode(shape.activations);
  TANDEM_CHECK(driver.mode_ != nullptr, "the kernel offers the mode of activations");
  driver.team_ = &team;
  const int64_t pairs = int64_t{shape.max_tokens} * shape.top_k;
  TANDEM_ASSIGN_OR_RETURN(
      driver.x_,
      NumaBuffer::Allocate(shape.max_tokens * driver.mode_->RowBytes(shape.layout.hidden)));
  TANDEM_ASSIGN_OR_RETURN(
      driver.h_, NumaBuffer::Allocate(pairs * driver.mode_->RowBytes(shape.layout.intermediate)));
  TANDEM_ASSIGN_OR_RETURN(driver.scratch_,
                          NumaBuffer::Allocate(team.size() * (kSumsBytes + kScratchBytes)));
  driver.expert_begin_.resize(shape.max_experts + 1);
  driver.chunks_.reserve(shape.max_experts + pairs / kMaxTokens + 1);
  driver.x_rows_.resize(pairs);
  driver.h_rows_.resize(pairs);
  driver.y_rows_.resize(pairs);
  driver.pair_weights_.resize(pairs);
  return driver;
}

void MoeDriver::Forward(const uint8_t* experts, int32_t n_experts, const RoutedTokens& in,
                        View<float, 2> y) {
  GroupByExpert(n_experts, in, y);
  if (!chunks_.empty()) {
    QuantizeTokens(in.hidden);
    GateUpPhase(experts);
  }
  DownPhase(experts, y);
}

// A counting sort: stable, so a token's pairs of one expert keep their slot order.
void MoeDriver::GroupByExpert(int32_t n_experts, const RoutedTokens& in, View<float, 2> y) {
  const int64_t tokens = in.expert_ids.dim(0), top_k = in.expert_ids.dim(1);
  std::fill_n(expert_begin_.begin(), n_experts + 1, 0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t k = 0; k < top_k; ++k) {
      const int32_t expert = in.expert_ids(t, k);
      TANDEM_CHECK(expert < n_experts, "the router names only experts of the layer");
      if (expert >= 0) ++expert_begin_[expert + 1];
    }
  }
  chunks_.clear();
  for (int32_t e = 0; e < n_experts; ++e) {
    const int32_t begin = expert_begin_[e], count = expert_begin_[e + 1];
    for (int32_t done = 0; done < count; done += kMaxTokens)
      chunks_.push_back({e, begin + done, std::min(kMaxTokens, count - done)});
    expert_begin_[e + 1] = begin + count;
  }

  const int64_t x_bytes = mode_->RowBytes(shape_.layout.hidden);
  const int64_t h_bytes = mode_->RowBytes(shape_.layout.intermediate);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t k = 0; k < top_k; ++k) {
      const int32_t expert = in.expert_ids(t, k);
      if (expert < 0) continue;
      const int32_t pair = expert_begin_[expert]++;  // ends as the next expert's begin
      x_rows_[pair] = x_.as<uint8_t>() + t * x_bytes;
      h_rows_[pair] = h_.as<uint8_t>() + pair * h_bytes;
      y_rows_[pair] = y.row(t);
      pair_weights_[pair] = in.weights(t, k);
    }
  }
}

void MoeDriver::QuantizeTokens(View<const bf16, 2> hidden) {
  const int32_t groups = static_cast<int32_t>(shape_.layout.hidden / kGroupInputs);
  const int64_t row_bytes = mode_->RowBytes(shape_.layout.hidden);
  auto quantize = [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      mode_->quantize(hidden.row(t), groups, x_.as<uint8_t>() + t * row_bytes);
  };
  const int64_t tokens = hidden.dim(0);
  if (tokens <= kSerialQuantizeTokens) return quantize(0, tokens, 0);
  team_->ParallelFor(tokens, Grain(tokens, team_->size()), quantize);
}

DotArgs MoeDriver::DotOf(const Chunk& chunk, int worker) const {
  DotArgs args;
  args.tokens = chunk.count;
  args.sums = sums(worker);
  args.scratch = reinterpret_cast<uint8_t*>(args.sums) + kSumsBytes;
  return args;
}

// Units are (chunk, column group); a piece runs through a chunk's columns in memory order.
void MoeDriver::GateUpPhase(const uint8_t* experts) {
  const int64_t columns = shape_.layout.intermediate / kColumnGroup;
  const int64_t units = static_cast<int64_t>(chunks_.size()) * columns;
  team_->ParallelFor(
      units, Grain(units, team_->size()), [&](int64_t begin, int64_t end, int worker) {
        while (begin < end) {
          const int64_t first = begin % columns, n = std::min(columns - first, end - begin);
          GateUpColumns(experts, chunks_[begin / columns], first, first + n, worker);
          begin += n;
        }
      });
}

void MoeDriver::GateUpColumns(const uint8_t* experts, const Chunk& chunk, int64_t begin,
                              int64_t end, int worker) const {
  const ExpertLayout& layout = shape_.layout;
  const uint8_t* expert = experts + chunk.expert * shape_.expert_stride;
  DotArgs args = DotOf(chunk, worker);
  args.panel_bytes = layout.gate_up_panel_bytes();
  args.n_panels = 4;
  args.groups = args.n_groups = static_cast<int32_t>(layout.hidden / kGroupInputs);
  args.x = &x_rows_[chunk.begin];
  for (int64_t c = begin; c < end; ++c) {
    args.panels = expert + layout.gate_panel(2 * c);
    args.next = c + 1 < end ? expert + layout.gate_panel(2 * c + 2) : nullptr;
    mode_->dot(args);
    mode_->silu_mul(args.sums, chunk.count, static_cast<int32_t>(c), &h_rows_[chunk.begin]);
  }
}

// Units are pairs of output panels, over all tokens: no two workers touch the same element of y.
void MoeDriver::DownPhase(const uint8_t* experts, View<float, 2> y) {
  const int64_t pairs = shape_.layout.hidden / (2 * kPanelRows);
  team_->ParallelFor(pairs, Grain(pairs, team_->size()),
                     [&](int64_t begin, int64_t end, int worker) {
                       DownPanels(experts, 2 * begin, 2 * end, y, worker);
                     });
}

void MoeDriver::DownPanels(const uint8_t* experts, int64_t begin, int64_t end, View<float, 2> y,
                           int worker) const {
  for (int64_t t = 0; t < y.dim(0); ++t)
    std::memset(y.row(t) + begin * kPanelRows, 0, (end - begin) * kPanelRows * sizeof(float));

  const ExpertLayout& layout = shape_.layout;
  auto panels_of = [&](const Chunk& chunk, int64_t panel) {
    return experts + chunk.expert * shape_.expert_stride + layout.down_panel(panel);
  };
  for (size_t c = 0; c < chunks_.size(); ++c) {
    const Chunk& chunk = chunks_[c];
    DotArgs args = DotOf(chunk, worker);
    args.panel_bytes = layout.down_panel_bytes();
    args.groups = args.n_groups = static_cast<int32_t>(layout.intermediate / kGroupInputs);
    args.x = &h_rows_[chunk.begin];
    for (int64_t panel = begin; panel < end; panel += args.n_panels) {
      args.n_panels = static_cast<int32_t>(std::min<int64_t>(kMaxPanels, end - panel));
      args.panels = panels_of(chunk, panel);
      const int64_t after = panel + args.n_panels;
      args.next = after < end              ? panels_of(chunk, after)
                  : c + 1 < chunks_.size() ? panels_of(chunks_[c + 1], begin)
                                           : nullptr;
      mode_->dot(args);
      kernel_->add_weighted({args.sums, chunk.count, args.n_panels * static_cast<int>(kPanelRows),
                             &pair_weights_[chunk.begin], &y_rows_[chunk.begin],
                             panel * kPanelRows});
    }
  }
}

}  // namespace tandem
