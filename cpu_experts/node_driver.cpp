#include "cpu_experts/node_driver.h"

#include <algorithm>
#include <cstring>

#include "core/spin.h"

namespace tandem {
namespace {

constexpr int64_t kSumsRowBytes = kSumsStride * sizeof(float);
constexpr int64_t kWorkerBytes = kSumsBytes + kScratchBytes;
constexpr int64_t kLaneRows = 2 * kPanelRows;

// Column groups below which their inputs are cut, too.
int64_t FewItems(int workers) { return PieceQueue::kSmallestFraction * workers; }

}  // namespace

absl::StatusOr<std::unique_ptr<NodeDriver>> NodeDriver::Create(const MoeDriverShape& shape,
                                                               const KernelTable& table,
                                                               const ModeKernels& kernels,
                                                               WorkerTeam& team, int node) {
  std::unique_ptr<NodeDriver> driver(new NodeDriver());
  NodeDriver& d = *driver;
  d.shape_ = shape;
  d.table_ = &table;
  d.kernels_ = &kernels;
  d.team_ = &team;
  d.node_ = node;
  d.workers_ = team.node_size(node);
  const NumaNode home = team.node_id(node);
  const int64_t pairs = int64_t{shape.max_tokens} * shape.top_k;
  const int64_t x_bytes = kernels.RowBytes(shape.hidden);
  const int64_t h_bytes = kernels.RowBytes(shape.intermediate);
  const int64_t columns = shape.intermediate / kColumnGroup;
  TANDEM_ASSIGN_OR_RETURN(d.x_, NumaBuffer::Allocate(shape.max_tokens * x_bytes, home));
  if (kernels.evenly_spaced_from <= kMaxTokens) {
    TANDEM_ASSIGN_OR_RETURN(d.spaced_x_, NumaBuffer::Allocate(pairs * x_bytes, home));
  }
  TANDEM_ASSIGN_OR_RETURN(d.h_, NumaBuffer::Allocate(pairs * h_bytes, home));
  // Only items below the limit are cut; what is not used is never touched.
  const int64_t rows = std::min(pairs * columns, FewItems(d.workers_) * kMaxTokens);
  TANDEM_ASSIGN_OR_RETURN(d.shared_sums_, NumaBuffer::Allocate(rows * kSumsRowBytes, home));
  TANDEM_ASSIGN_OR_RETURN(d.scratch_, NumaBuffer::Allocate(d.workers_ * kWorkerBytes, home));
  d.expert_begin_.resize(shape.max_experts + 1);
  d.chunks_.reserve(shape.max_experts + pairs / kMaxTokens + 1);
  d.x_rows_.resize(pairs);
  d.h_rows_.resize(pairs);
  d.y_rows_.resize(pairs);
  d.pair_weights_.resize(pairs);
  d.gate_up_progress_ = std::make_unique<std::atomic<int32_t>[]>(FewItems(d.workers_));
  d.down_progress_ = std::make_unique<std::atomic<int32_t>[]>(shape.hidden / kLaneRows);
  return driver;
}

void NodeDriver::Begin(std::span<const NodeExpert> experts, const RoutedTokens& in,
                       View<float, 2> y) {
  experts_ = experts;
  in_ = in;
  y_ = y;
  next_token_.store(0, std::memory_order_relaxed);
  next_chunk_.store(0, std::memory_order_relaxed);
}

void NodeDriver::Work(int worker) {
  if (team_->seat(worker).rank == 0) Group();
  QuantizeShare();
  team_->NodeBarrier(worker);
  if (spaced_) {
    SpaceEvenlyShare();
    team_->NodeBarrier(worker);
  }
  GateUpShare(worker);
  team_->NodeBarrier(worker);
  DownShare(worker);
}

// Whether a (token, slot) pair is this node's. Replicated experts of a token go to the nodes in
// turn: which one depends on the token's own row only, as its summation order does.
bool NodeDriver::Takes(int64_t token, int64_t slot) const {
  const int32_t expert = in_.expert_ids(token, slot);
  if (expert < 0 || experts_[expert].block == nullptr) return false;
  if (!experts_[expert].replicated) return true;
  int turn = 0;
  for (int64_t k = 0; k < slot; ++k) {
    const int32_t before = in_.expert_ids(token, k);
    if (before >= 0 && experts_[before].replicated) ++turn;
  }
  return turn % team_->nodes() == node_;
}

// A counting sort: stable, so a token's pairs of one expert keep their slot order.
void NodeDriver::Group() {
  CountPairs();
  MakeChunks();
  PlacePairs();
  PlanPhases();
}

void NodeDriver::CountPairs() {
  std::fill_n(expert_begin_.begin(), experts_.size() + 1, 0);
  for (int64_t t = 0; t < in_.expert_ids.dim(0); ++t) {
    for (int64_t k = 0; k < in_.expert_ids.dim(1); ++k) {
      TANDEM_CHECK(in_.expert_ids(t, k) < static_cast<int64_t>(experts_.size()),
                   "the router names only experts of the layer");
      if (Takes(t, k)) ++expert_begin_[in_.expert_ids(t, k) + 1];
    }
  }
}

// Turns counts into first pairs, and cuts experts with many tokens.
void NodeDriver::MakeChunks() {
  chunks_.clear();
  spaced_ = false;
  int64_t item = 0, row = 0;
  for (size_t e = 0; e < experts_.size(); ++e) {
    const int32_t begin = expert_begin_[e], count = expert_begin_[e + 1];
    expert_begin_[e + 1] = begin + count;
    for (int32_t done = 0; done < count; done += kMaxTokens) {
      const int32_t n = std::min(kMaxTokens, count - done);
      const NodeExpert& expert = experts_[e];
      Chunk chunk = {expert.block, expert.layout, begin + done, n, item, row, 0};
      if (n >= kernels_->evenly_spaced_from) {
        chunk.x_stride = kernels_->RowBytes(shape_.hidden);
        spaced_ = true;
      }
      item += chunk.columns();
      row += chunk.columns() * n;
      chunks_.push_back(chunk);
    }
  }
}

void NodeDriver::PlacePairs() {
  const int64_t x_bytes = kernels_->RowBytes(shape_.hidden);
  const int64_t h_bytes = kernels_->RowBytes(shape_.intermediate);
  for (int64_t t = 0; t < in_.expert_ids.dim(0); ++t) {
    for (int64_t k = 0; k < in_.expert_ids.dim(1); ++k) {
      if (!Takes(t, k)) continue;
      const int32_t pair = expert_begin_[in_.expert_ids(t, k)]++;  // ends as the next one's begin
      x_rows_[pair] = x_.as<uint8_t>() + t * x_bytes;
      h_rows_[pair] = h_.as<uint8_t>() + pair * h_bytes;
      y_rows_[pair] = y_.row(t);
      pair_weights_[pair] = in_.weights(t, k);
    }
  }
}

void NodeDriver::PlanPhases() {
  if (chunks_.empty()) return;
  const int64_t items = chunks_.back().first_item + chunks_.back().columns();
  const int64_t few = FewItems(workers_), groups = shape_.hidden / kGroupInputs;
  gate_up_steps_ = items >= few ? 1 : std::min((few + items - 1) / items, groups);
  gate_up_queue_.Reset(items * gate_up_steps_, workers_);
  if (gate_up_steps_ > 1)
    for (int64_t i = 0; i < items; ++i) gate_up_progress_[i].store(0, std::memory_order_relaxed);

  const int64_t lanes = shape_.hidden / kLaneRows;
  down_queue_.Reset(lanes * static_cast<int64_t>(chunks_.size()), workers_);
  for (int64_t i = 0; i < lanes; ++i) down_progress_[i].store(0, std::memory_order_relaxed);
}

void NodeDriver::QuantizeShare() {
  const auto groups = static_cast<int32_t>(shape_.hidden / kGroupInputs);
  const int64_t row_bytes = kernels_->RowBytes(shape_.hidden);
  const int64_t tokens = in_.hidden.dim(0);
  for (int64_t t; (t = next_token_.fetch_add(1, std::memory_order_relaxed)) < tokens;)
    kernels_->quantize(in_.hidden.row(t), groups, x_.as<uint8_t>() + t * row_bytes);
}

// Copies the rows of chunks that want them one behind the other.
void NodeDriver::SpaceEvenlyShare() {
  const int64_t row_bytes = kernels_->RowBytes(shape_.hidden);
  const auto n = static_cast<int64_t>(chunks_.size());
  for (int64_t c; (c = next_chunk_.fetch_add(1, std::memory_order_relaxed)) < n;) {
    const Chunk& chunk = chunks_[c];
    if (chunk.x_stride == 0) continue;
    for (int32_t pair = chunk.begin; pair < chunk.begin + chunk.count; ++pair) {
      uint8_t* row = spaced_x_.as<uint8_t>() + pair * row_bytes;
      std::memcpy(row, x_rows_[pair], row_bytes);
      x_rows_[pair] = row;
    }
  }
}

template <class Whole, class Part>
void NodeDriver::RunPhase(int worker, PieceQueue& queue, int64_t steps, Progress& progress,
                          Whole whole, Part part) {
  auto wait = [&](int64_t item, int64_t step) {
    SpinUntil(team_->spins_before_yield(),
              [&] { return progress[item].load(std::memory_order_acquire) >= step; });
  };
  auto done = [&](int64_t item, int64_t step) {
    progress[item].store(static_cast<int32_t>(step), std::memory_order_release);
  };
  Piece piece = queue.First(team_->seat(worker).rank);
  do ForEachPart(piece, steps, whole, part, wait, done);
  while (queue.Next(piece));
}

size_t NodeDriver::ChunkOf(int64_t item) const {
  const auto after =
      std::upper_bound(chunks_.begin(), chunks_.end(), item,
                       [](int64_t i, const Chunk& chunk) { return i < chunk.first_item; });
  return static_cast<size_t>(after - chunks_.begin()) - 1;
}

float* NodeDriver::own_sums(int worker) const {
  return reinterpret_cast<float*>(scratch_.as<uint8_t>() + team_->seat(worker).rank * kWorkerBytes);
}
uint8_t* NodeDriver::scratch(int worker) const {
  return reinterpret_cast<uint8_t*>(own_sums(worker)) + kSumsBytes;
}

// Items are column groups, chunk after chunk: in the order of memory.
void NodeDriver::GateUpShare(int worker) {
  if (chunks_.empty()) return;
  const int64_t groups = shape_.hidden / kGroupInputs;
  auto whole = [&](int64_t first, int64_t last) {
    for (size_t c = ChunkOf(first); first < last; ++c) {
      const Chunk& chunk = chunks_[c];
      const int64_t end = std::min(last, chunk.first_item + chunk.columns());
      for (; first < end; ++first) {
        const int64_t column = first - chunk.first_item;
        const uint8_t* next = nullptr;
        if (column + 1 < chunk.columns()) {
          next = chunk.block + chunk.layout->gate_panel(2 * (column + 1));
        } else if (c + 1 < chunks_.size()) {
          next = chunks_[c + 1].block;
        }
        GateUp(chunk, column, 0, groups, next, own_sums(worker), worker);
      }
    }
  };
  auto part = [&](int64_t item, int64_t begin, int64_t end) {
    const Chunk& chunk = chunks_[ChunkOf(item)];
    const int64_t column = item - chunk.first_item;
    const int64_t from = groups * begin / gate_up_steps_, to = groups * end / gate_up_steps_;
    float* sums = shared_sums_.as<float>() + (chunk.first_row + column * chunk.count) * kSumsStride;
    GateUp(chunk, column, from, to - from, nullptr, sums, worker);
  };
  RunPhase(worker, gate_up_queue_, gate_up_steps_, gate_up_progress_, whole, part);
}

// Some input groups of a column group; with the last of them, h.
void NodeDriver::GateUp(const Chunk& chunk, int64_t column, int64_t first_group, int64_t n_groups,
                        const uint8_t* next, float* sums, int worker) {
  DotArgs args;
  args.panels = chunk.block + chunk.layout->gate_panel(2 * column);
  args.next = next;
  args.panel_bytes = chunk.layout->gate_up_panel_bytes();
  args.n_panels = 4;
  args.groups = static_cast<int32_t>(shape_.hidden / kGroupInputs);
  args.first_group = static_cast<int32_t>(first_group);
  args.n_groups = static_cast<int32_t>(n_groups);
  args.tokens = chunk.count;
  args.x = &x_rows_[chunk.begin];
  args.x_stride = chunk.x_stride;
  args.sums = sums;
  args.scratch = scratch(worker);
  kernels_->dot(args);
  if (first_group + n_groups < args.groups) return;
  kernels_->silu_mul(sums, chunk.count, static_cast<int32_t>(column), &h_rows_[chunk.begin]);
}

// Items are lanes, their steps the chunks: no two workers touch the same element of y at a time.
void NodeDriver::DownShare(int worker) {
  if (chunks_.empty()) {
    if (team_->seat(worker).rank == 0) ZeroOutput();
    return;
  }
  const auto steps = static_cast<int64_t>(chunks_.size());
  auto whole = [&](int64_t first, int64_t last) { Down(2 * first, 2 * last, 0, steps, worker); };
  auto part = [&](int64_t lane, int64_t begin, int64_t end) {
    Down(2 * lane, 2 * lane + 2, begin, end, worker);
  };
  RunPhase(worker, down_queue_, steps, down_progress_, whole, part);
}

void NodeDriver::Down(int64_t first_panel, int64_t last_panel, int64_t first_chunk,
                      int64_t last_chunk, int worker) {
  if (first_chunk == 0) {
    for (int64_t t = 0; t < y_.dim(0); ++t)
      std::memset(y_.row(t) + first_panel * kPanelRows, 0,
                  (last_panel - first_panel) * kPanelRows * sizeof(float));
  }
  auto panels_of = [&](int64_t c, int64_t panel) {
    return chunks_[c].block + chunks_[c].layout->down_panel(panel);
  };
  float* sums = own_sums(worker);
  for (int64_t c = first_chunk; c < last_chunk; ++c) {
    const Chunk& chunk = chunks_[c];
    DotArgs args;
    args.panel_bytes = chunk.layout->down_panel_bytes();
    args.groups = static_cast<int32_t>(chunk.layout->intermediate / kGroupInputs);
    args.n_groups = args.groups;
    args.tokens = chunk.count;
    args.x = const_cast<const uint8_t* const*>(&h_rows_[chunk.begin]);
    args.x_stride = kernels_->RowBytes(shape_.intermediate);
    args.sums = sums;
    args.scratch = scratch(worker);
    for (int64_t panel = first_panel; panel < last_panel; panel += args.n_panels) {
      args.n_panels = static_cast<int32_t>(std::min<int64_t>(kMaxPanels, last_panel - panel));
      args.panels = panels_of(c, panel);
      args.next = panel + args.n_panels < last_panel ? panels_of(c, panel + args.n_panels)
                  : c + 1 < last_chunk               ? panels_of(c + 1, first_panel)
                                                     : nullptr;
      kernels_->dot(args);
      table_->add_weighted({sums, chunk.count, static_cast<int32_t>(args.n_panels * kPanelRows),
                            &pair_weights_[chunk.begin], &y_rows_[chunk.begin],
                            panel * kPanelRows});
    }
  }
}

void NodeDriver::ZeroOutput() {
  for (int64_t t = 0; t < y_.dim(0); ++t) std::memset(y_.row(t), 0, shape_.hidden * sizeof(float));
}

}  // namespace tandem
