// 1. group: block 0 lists the pairs (t,k) of each active expert, ascending; the others arrange x.
// 2. gate-up, 3. down: a fixed grid, two blocks per multiprocessor; a block takes every so-manieth
//    piece of the work, two panels (expert_few.cuh) of one active expert and all its tokens.
// 4. combine: adds the outputs of a token's pairs.
#include "gpu_attention/cuda/hot_experts.h"

#include <algorithm>

#include "gpu_attention/cuda/arrange_inputs.cuh"
#include "gpu_attention/cuda/expert_few.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kGroupThreads = 512;
constexpr int kCombineThreads = 128;
constexpr int kBlocksPerMultiprocessor = 2;
constexpr int32_t kMaxExperts = 1024;
constexpr int32_t kMaxTopK = 64;

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What a step leaves in the workspace for the next. An active expert is one with a hot pair.
struct Workspace {
  Global<int32_t> n_active;  // [1]
  Global<int32_t> slots;     // [experts]: of active expert a, in ascending id
  Global<int32_t> begins;    // [experts + 1]: its pairs are pairs[begins[a]] ..
  Global<int32_t> pairs;     // [tokens * top_k]: t * top_k + k
  Global<bf16> x;            // [tokens, hidden], arranged
  Global<bf16> h;            // [tokens * top_k, width], arranged
  Global<float> outputs;     // [tokens * top_k, hidden]
};
struct HotWork {
  HotExpertsArgs args;
  Workspace space;
};

// Deals out a workspace; counts bytes only where there is none.
class Carver {
 public:
  explicit Carver(Global<uint8_t> memory) : memory_(memory) {}
  template <class T>
  Global<T> Take(int64_t count) {
    const int64_t at = used_;
    used_ += DivideUp(count * static_cast<int64_t>(sizeof(T)), 256) * 256;
    return PointerCast<T>(memory_ + at);
  }
  int64_t used() const { return used_; }

 private:
  Global<uint8_t> memory_;
  int64_t used_ = 0;
};

Workspace Carve(Carver& carver, int32_t tokens, int32_t top_k, int32_t experts,
                const ExpertCuts& cuts) {
  const int64_t pairs = int64_t{tokens} * top_k;
  Workspace space;
  space.n_active = carver.Take<int32_t>(1);
  space.slots = carver.Take<int32_t>(experts);
  space.begins = carver.Take<int32_t>(experts + 1);
  space.pairs = carver.Take<int32_t>(pairs);
  space.x = carver.Take<bf16>(int64_t{tokens} * cuts.hidden);
  space.h = carver.Take<bf16>(pairs * cuts.width);
  space.outputs = carver.Take<float>(pairs * cuts.hidden);
  return space;
}

// Sum over the lanes before this one.
__device__ int32_t SumOfEarlierLanes(int32_t value) {
  const int lane = threadIdx.x % 32;
  int32_t sum = value;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int32_t other = Shuffle(sum, lane - distance);
    if (lane >= distance) sum += other;
  }
  return sum - value;
}

// One warp, each lane some consecutive experts: numbers the active ones and finds where their pairs
// begin. Leaves in counts[e] the place of e's first pair, or -1.
__device__ void NumberActive(const HotWork& work, Shared<int32_t> counts) {
  const int32_t experts = work.args.experts, per_lane = (experts + 31) / 32;
  const int32_t first = threadIdx.x * per_lane, last = min(first + per_lane, experts);
  int32_t n_active = 0, n_pairs = 0;
  for (int32_t e = first; e < last; ++e) n_active += counts[e] > 0, n_pairs += counts[e];
  int32_t active = SumOfEarlierLanes(n_active), begin = SumOfEarlierLanes(n_pairs);
  for (int32_t e = first; e < last; ++e) {
    const int32_t count = counts[e];
    counts[e] = count > 0 ? begin : -1;
    if (count == 0) continue;
    work.space.slots[active] = work.args.slot_of[e];
    work.space.begins[active] = begin;
    ++active, begin += count;
  }
  if (threadIdx.x == 31) {
    *work.space.n_active = active;
    work.space.begins[active] = begin;
  }
}

__device__ void GroupPairs(const HotWork& work) {
  const HotExpertsArgs& args = work.args;
  const int32_t n_pairs = args.tokens * args.top_k;
  SharedArena arena;
  const Shared<int32_t> ids = arena.Take<int32_t>(n_pairs);
  const Shared<int32_t> counts = arena.Take<int32_t>(args.experts);

  for (int32_t e = threadIdx.x; e < args.experts; e += kGroupThreads) counts[e] = 0;
  __syncthreads();
  for (int32_t p = threadIdx.x; p < n_pairs; p += kGroupThreads) {
    const int32_t expert = ~args.expert_ids[p];  // negative if not hot
    ids[p] = expert;
    if (expert >= 0) AtomicAdd(counts + expert, 1);
  }
  __syncthreads();
  if (threadIdx.x < 32) NumberActive(work, counts);
  __syncthreads();
  for (int32_t e = threadIdx.x; e < args.experts; e += kGroupThreads) {
    int32_t place = counts[e];
    if (place < 0) continue;
    for (int32_t p = 0; p < n_pairs; ++p) {
      if (ids[p] == e) work.space.pairs[place++] = p;
    }
  }
}

__global__ void __launch_bounds__(kGroupThreads) GroupKernel(HotWork work) {
  if (blockIdx.x == 0) {
    GroupPairs(work);
    return;
  }
  const int64_t row = int64_t{blockIdx.x - 1} * work.args.cuts.hidden;
  for (int32_t chunk = threadIdx.x; chunk < work.args.cuts.hidden / 8; chunk += kGroupThreads) {
    ArrangeChunk(work.args.x + row, work.space.x + row, chunk);
  }
}

// Calls piece(expert bytes, index of the piece, first pair, pairs) for this block's pieces of all
// active experts, with at most `most` pairs at once.
template <class Piece>
__device__ __forceinline__ void ForPieces(const HotWork& work, int32_t pieces, int32_t most,
                                          const Piece& piece) {
  const int32_t n_pieces = *work.space.n_active * pieces;
  for (int32_t i = blockIdx.x; i < n_pieces; i += gridDim.x) {
    const int32_t active = i / pieces, end = work.space.begins[active + 1];
    const Global<const uint8_t> expert =
        work.args.pool + work.space.slots[active] * work.args.slot_stride;
    for (int32_t first = work.space.begins[active]; first < end; first += most) {
      piece(expert, i % pieces, work.space.pairs + first, min(end - first, most));
    }
  }
}

template <int kTiles>
__global__ void __launch_bounds__(kFewThreads, kBlocksPerMultiprocessor)
    HotGateUpKernel(HotWork work) {
  SharedArena arena;
  const Shared<uint8_t> shared = arena.Take<uint8_t>(FewShape<kTiles>::kSharedBytes);
  const ExpertCuts& cuts = work.args.cuts;
  ForPieces(
      work, cuts.width / 16, FewShape<kTiles>::kTokens,
      [&](Global<const uint8_t> expert, int32_t panel, Global<const int32_t> pairs, int32_t count) {
        GateUpFew<kTiles>(
            expert, cuts, panel, count,
            [&](int n) { return work.space.x + int64_t{pairs[n] / work.args.top_k} * cuts.hidden; },
            [&](int n) { return work.space.h + int64_t{pairs[n]} * cuts.width; }, shared);
      });
}

template <int kTiles>
__global__ void __launch_bounds__(kFewThreads, kBlocksPerMultiprocessor)
    HotDownKernel(HotWork work) {
  SharedArena arena;
  const Shared<uint8_t> shared = arena.Take<uint8_t>(FewShape<kTiles>::kSharedBytes);
  const ExpertCuts& cuts = work.args.cuts;
  ForPieces(
      work, cuts.hidden / 32, FewShape<kTiles>::kTokens,
      [&](Global<const uint8_t> expert, int32_t block, Global<const int32_t> pairs, int32_t count) {
        DownFew<kTiles>(
            expert, cuts, block, count,
            [&](int n) { return work.space.h + int64_t{pairs[n]} * cuts.width; },
            [&](int n, int32_t output, float value) {
              work.space.outputs[int64_t{pairs[n]} * cuts.hidden + output] = value;
            },
            shared);
      });
}

__global__ void __launch_bounds__(kCombineThreads) CombineKernel(HotWork work) {
  const HotExpertsArgs& args = work.args;
  const int64_t first_pair = int64_t{blockIdx.y} * args.top_k;
  SharedArena arena;
  const Shared<int32_t> order = arena.Take<int32_t>(args.top_k);  // the hot k by ascending expert
  const Shared<int32_t> n_hot = arena.Take<int32_t>(1);

  for (int32_t k = threadIdx.x; k < args.top_k; k += kCombineThreads) {
    const int32_t id = args.expert_ids[first_pair + k];
    int32_t place = 0, hot = 0;  // ~e falls as e rises
    for (int32_t other = 0; other < args.top_k; ++other) {
      const int32_t other_id = args.expert_ids[first_pair + other];
      place += other_id < 0 && other_id > id;
      hot += other_id < 0;
    }
    if (id < 0) order[place] = k;
    if (k == 0) *n_hot = hot;
  }
  __syncthreads();

  const int32_t output = (blockIdx.x * kCombineThreads + threadIdx.x) * 4;
  if (output >= args.cuts.hidden) return;
  float4 sum = {0, 0, 0, 0};
  for (int32_t i = 0; i < *n_hot; ++i) {
    const int64_t pair = first_pair + order[i];
    const float weight = args.weights[pair];
    const float4 v = LoadAs<float4>(work.space.outputs + pair * args.cuts.hidden + output);
    sum.x += weight * v.x, sum.y += weight * v.y, sum.z += weight * v.z, sum.w += weight * v.w;
  }
  StoreAs(args.y + int64_t{blockIdx.y} * args.cuts.hidden + output, sum);
}

uint32_t Blocks(const HotWork& work, int32_t pieces) {
  const HotExpertsArgs& args = work.args;
  const int64_t most_active = std::min(args.tokens * args.top_k, args.experts);
  return static_cast<uint32_t>(
      std::min<int64_t>(most_active * pieces, kBlocksPerMultiprocessor * args.multiprocessors));
}

template <int kTiles>
void LaunchProducts(Stream& stream, const HotWork& work) {
  LaunchShape shape = {.threads = kFewThreads, .shared_bytes = FewShape<kTiles>::kSharedBytes};
  shape.blocks_x = Blocks(work, work.args.cuts.width / 16);
  Launch(stream, "hot experts: gate-up", HotGateUpKernel<kTiles>, shape, work);
  shape.blocks_x = Blocks(work, work.args.cuts.hidden / 32);
  Launch(stream, "hot experts: down", HotDownKernel<kTiles>, shape, work);
}

}  // namespace

int64_t HotExpertsWorkspaceBytes(int32_t tokens, int32_t top_k, int32_t experts,
                                 const ExpertCuts& cuts) {
  Carver carver(nullptr);
  Carve(carver, tokens, top_k, experts, cuts);
  return carver.used();
}

void HotExperts(Stream& stream, const HotExpertsArgs& args) {
  if (args.tokens == 0) return;
  const int32_t pairs = args.tokens * args.top_k;
  TANDEM_CHECK(pairs <= kMaxHotPairs && args.top_k <= kMaxTopK && args.experts <= kMaxExperts,
               "more tokens or experts than the hot experts' kernels take");
  TANDEM_CHECK(
      args.cuts.hidden % 32 == 0 && args.cuts.width % 32 == 0 && args.slot_stride % 64 == 0,
      "an expert that has no layout");
  Carver carver(args.workspace);
  const HotWork work = {args, Carve(carver, args.tokens, args.top_k, args.experts, args.cuts)};

  Launch(
      stream, "hot experts: group", GroupKernel,
      {.blocks_x = static_cast<uint32_t>(args.tokens + 1),
       .threads = kGroupThreads,
       .shared_bytes = static_cast<size_t>(DivideUp(pairs, 32) + DivideUp(args.experts, 32)) * 128},
      work);
  if (args.tokens <= 8) {
    LaunchProducts<1>(stream, work);
  } else {
    LaunchProducts<4>(stream, work);
  }
  Launch(stream, "hot experts: combine", CombineKernel,
         {.blocks_x = static_cast<uint32_t>(DivideUp(args.cuts.hidden, 4 * kCombineThreads)),
          .blocks_y = static_cast<uint32_t>(args.tokens),
          .threads = kCombineThreads,
          .shared_bytes = static_cast<size_t>(DivideUp(args.top_k, 32) + 1) * 128},
         work);
}

}  // namespace tandem::TANDEM_GPU
