#include "cpu_experts/moe_driver.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cpu_experts/activation.h"

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
  driver.team_ = &team;
  const int64_t pairs = int64_t{shape.max_tokens} * shape.top_k;
  TANDEM_ASSIGN_OR_RETURN(
      driver.x_,
      NumaBuffer::Allocate(shape.max_tokens * RowBytes(shape.layout.hidden, shape.planes)));
  TANDEM_ASSIGN_OR_RETURN(
      driver.h_, NumaBuffer::Allocate(pairs * RowBytes(shape.layout.intermediate, shape.planes)));
  TANDEM_ASSIGN_OR_RETURN(driver.scratch_, NumaBuffer::Allocate(team.size() * kScratchBytes));
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

  const int64_t x_bytes = RowBytes(shape_.layout.hidden, shape_.planes);
  const int64_t h_bytes = RowBytes(shape_.layout.intermediate, shape_.planes);
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
  const int64_t row_bytes = RowBytes(shape_.layout.hidden, shape_.planes);
  auto quantize = [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      kernel_->quantize(hidden.row(t), groups, shape_.planes, x_.as<uint8_t>() + t * row_bytes);
  };
  const int64_t tokens = hidden.dim(0);
  if (tokens <= kSerialQuantizeTokens) return quantize(0, tokens, 0);
  team_->ParallelFor(tokens, Grain(tokens, team_->size()), quantize);
}

// Units are (chunk, column group); a piece runs through a chunk's columns in memory order.
void MoeDriver::GateUpPhase(const uint8_t* experts) {
  const ExpertLayout& layout = shape_.layout;
  const int64_t columns = layout.intermediate / kColumnGroup;
  const int64_t units = static_cast<int64_t>(chunks_.size()) * columns;
  team_->ParallelFor(
      units, Grain(units, team_->size()), [&](int64_t begin, int64_t end, int worker) {
        while (begin < end) {
          const Chunk& chunk = chunks_[begin / columns];
          const int64_t first = begin % columns, n = std::min(columns - first, end - begin);
          GateUpArgs args;
          args.panels =
              experts + chunk.expert * shape_.expert_stride + layout.gate_panel(2 * first);
          args.panel_bytes = layout.gate_up_panel_bytes();
          args.groups = static_cast<int32_t>(layout.hidden / kGroupInputs);
          args.first_group = static_cast<int32_t>(first);
          args.column_groups = static_cast<int32_t>(n);
          args.planes = shape_.planes;
          args.tokens = chunk.count;
          args.x = &x_rows_[chunk.begin];
          args.h = &h_rows_[chunk.begin];
          args.scratch = scratch(worker);
          kernel_->gate_up(args);
          begin += n;
        }
      });
}

// Units are pairs of output panels, over all tokens: no two workers touch the same element of y.
void MoeDriver::DownPhase(const uint8_t* experts, View<float, 2> y) {
  const int64_t pairs = shape_.layout.hidden / (2 * kPanelRows);
  team_->ParallelFor(pairs, Grain(pairs, team_->size()),
                     [&](int64_t begin, int64_t end, int worker) {
                       DownPanels(experts, 2 * begin, 2 * end, y, scratch(worker));
                     });
}

void MoeDriver::DownPanels(const uint8_t* experts, int64_t begin, int64_t end, View<float, 2> y,
                           uint8_t* scratch) const {
  for (int64_t t = 0; t < y.dim(0); ++t)
    std::memset(y.row(t) + begin * kPanelRows, 0, (end - begin) * kPanelRows * sizeof(float));

  const ExpertLayout& layout = shape_.layout;
  auto panels_of = [&](const Chunk& chunk) {
    return experts + chunk.expert * shape_.expert_stride + layout.down_panel(begin);
  };
  for (size_t c = 0; c < chunks_.size(); ++c) {
    const Chunk& chunk = chunks_[c];
    DownArgs args;
    args.panels = panels_of(chunk);
    args.next = c + 1 < chunks_.size() ? panels_of(chunks_[c + 1]) : nullptr;
    args.panel_bytes = layout.down_panel_bytes();
    args.groups = static_cast<int32_t>(layout.intermediate / kGroupInputs);
    args.first_panel = static_cast<int32_t>(begin);
    args.n_panels = static_cast<int32_t>(end - begin);
    args.planes = shape_.planes;
    args.tokens = chunk.count;
    args.h = &h_rows_[chunk.begin];
    args.weights = &pair_weights_[chunk.begin];
    args.y = &y_rows_[chunk.begin];
    args.scratch = scratch;
    kernel_->down(args);
  }
}

}  // namespace tandem
