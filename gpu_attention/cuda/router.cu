// Logits: weights are the A operand (16 experts), tokens the B operand. The order of inputs within
// a product is free as long as both operands agree, so a lane takes 8 consecutive inputs of a row
// in one load and feeds two mma with them:
//
//   block = 16 experts x 8 kTiles tokens x slices of 512 inputs; its 4 warps split a slice
//   warp: for each 32 inputs, lane (g, t) holds inputs 8t..8t+7 of rows g and g+8, and of token g
//
// An F32 gate is cut into three bf16 of 8 mantissa bits each, without a remainder, so its products
// are exact, too. For few tokens every slice is a block of its own (K2.6: 24 x 14 blocks with all
// 24 KiB in flight at once) and the second kernel adds them; for many a block goes through all
// slices and adds them in the same order.
#include "gpu_attention/cuda/router.h"

#include <bit>

#include "core/status.h"
#include "gpu_attention/cuda/mma.cuh"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kExpertTile = 16;
constexpr int kStepInputs = 32;
constexpr int kStepsPerWarp = 7;      // of a slice
constexpr int32_t kSplitTokens = 64;  // up to here slices are blocks
constexpr int32_t kSliceInputs = kWarps * kStepsPerWarp * kStepInputs;
constexpr float kOut = -__builtin_huge_valf();

constexpr int32_t DivideUp(int32_t a, int32_t b) { return (a + b - 1) / b; }
constexpr int32_t Slices(int32_t hidden) { return DivideUp(hidden, kSliceInputs); }

struct RouterWork {
  RouterArgs args;
  Global<float> partial_logits;  // [partials, tokens, experts]
  int32_t slices;
  int32_t partials;  // slices or 1
};

// Rows in shared memory. The padding spreads what eight lanes read at once, 8 inputs each of two
// rows, over all banks.
template <class T>
constexpr int kStride = kSliceInputs + (sizeof(T) == 2 ? 32 : 4);

// Eight consecutive inputs of a row as words of mma operands; an F32 row takes three of them.
template <class T>
constexpr int kParts = sizeof(T) == 2 ? 1 : 3;

__device__ __forceinline__ void LoadWords(Shared<const bf16> row, uint32_t (&words)[1][4]) {
  const uint4 v = LoadAs<uint4>(row);
  words[0][0] = v.x, words[0][1] = v.y, words[0][2] = v.z, words[0][3] = v.w;
}
__device__ __forceinline__ void LoadWords(Shared<const float> row, uint32_t (&words)[3][4]) {
  for (int word = 0; word < 4; ++word) {
    float low = row[2 * word], high = row[2 * word + 1];
    for (int part = 0; part < 3; ++part) {
      const uint32_t a = std::bit_cast<uint32_t>(low), b = std::bit_cast<uint32_t>(high);
      words[part][word] = a >> 16 | (b & 0xffff0000u);
      low -= std::bit_cast<float>(a & 0xffff0000u);
      high -= std::bit_cast<float>(b & 0xffff0000u);
    }
  }
}

template <class Gate>
__device__ Global<const Gate> GateOf(const RouterArgs& args);
template <>
__device__ Global<const bf16> GateOf(const RouterArgs& args) {
  return args.gate_bf16;
}
template <>
__device__ Global<const float> GateOf(const RouterArgs& args) {
  return args.gate_f32;
}

// Begins to copy a slice of `count` rows from row `first` of [rows, hidden]; zeros beyond the ends.
template <class T>
__device__ void CopySlice(Shared<T> to, Global<const T> from, int32_t first, int count,
                          int32_t rows, int32_t hidden, int32_t begin) {
  constexpr int kChunk = 16 / sizeof(T), kChunks = kSliceInputs / kChunk;
  for (int i = threadIdx.x; i < count * kChunks; i += kThreads) {
    const int32_t row = i / kChunks, input = i % kChunks * kChunk;
    const bool valid = first + row < rows && begin + input < hidden;
    CopyAsync16(to + row * kStride<T> + input,
                from + (valid ? int64_t{first + row} * hidden + begin + input : 0), valid);
  }
}

// Adds this warp's part of a slice.
template <int kTiles, class Gate>
__device__ void AddSlice(Shared<const Gate> gate, Shared<const bf16> x, float (&sums)[kTiles][4]) {
  const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int step = 0; step < kStepsPerWarp; ++step) {
    const int input = (warp * kStepsPerWarp + step) * kStepInputs + 8 * t;
    uint32_t low[kParts<Gate>][4], high[kParts<Gate>][4], tokens[1][4];
    LoadWords(gate + row * kStride<Gate> + input, low);
    LoadWords(gate + (row + 8) * kStride<Gate> + input, high);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      LoadWords(x + (tile * 8 + row) * kStride<bf16> + input, tokens);
#pragma unroll
      for (int part = kParts<Gate> - 1; part >= 0; --part) {
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
          const uint32_t a[4] = {low[part][half], high[part][half], low[part][half + 1],
                                 high[part][half + 1]};
          const uint32_t b[2] = {tokens[0][half], tokens[0][half + 1]};
          Mma16816(sums[tile], a, b);
        }
      }
    }
  }
}

template <int kTiles, class Gate>
__global__ void __launch_bounds__(kThreads) LogitsKernel(RouterWork work) {
  const RouterArgs& args = work.args;
  constexpr int kOutputs = kTiles * 8 * kExpertTile;
  SharedArena arena;
  const Shared<Gate> gate = arena.Take<Gate>(kExpertTile * kStride<Gate>);
  const Shared<bf16> x = arena.Take<bf16>(8 * kTiles * kStride<bf16>);
  const Shared<float> partial = arena.Take<float>(kWarps * kOutputs);  // [warp, tile, d, lane]
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int32_t first_expert = static_cast<int32_t>(blockIdx.x) * kExpertTile;
  const int32_t first_token = static_cast<int32_t>(blockIdx.y) * 8 * kTiles;

  float logits[kTiles] = {};
  for (int32_t slice = blockIdx.z; slice < work.slices; slice += gridDim.z) {
    const int32_t begin = slice * kSliceInputs;
    CopySlice(gate, GateOf<Gate>(args), first_expert, kExpertTile, args.experts, args.hidden,
              begin);
    CopySlice(x, args.x, first_token, 8 * kTiles, args.tokens, args.hidden, begin);
    CopyAsyncCommit();
    CopyAsyncWait<0>();
    __syncthreads();
    float sums[kTiles][4] = {};
    AddSlice<kTiles, Gate>(gate, x, sums);
    for (int tile = 0; tile < kTiles; ++tile) {
      for (int d = 0; d < 4; ++d)
        partial[((warp * kTiles + tile) * 4 + d) * 32 + lane] = sums[tile][d];
    }
    __syncthreads();
    for (int tile = 0; tile < kTiles; ++tile) {
      float sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += partial[w * kOutputs + tile * kThreads + thread];
      logits[tile] += sum;
    }
  }
  // A thread has value d = warp of each tile: there are as many warps as values in a D fragment.
  static_assert(kWarps == 4);
  const int32_t expert = first_expert + lane / 4 + warp / 2 * 8;
  for (int tile = 0; tile < kTiles; ++tile) {
    const int32_t token = first_token + tile * 8 + lane % 4 * 2 + warp % 2;
    if (expert >= args.experts || token >= args.tokens) continue;
    const int64_t row = int64_t{blockIdx.z} * args.tokens + token;
    work.partial_logits[row * args.experts + expert] = logits[tile];
  }
}

__device__ float Sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// A group's claim: the sum of its two largest.
__device__ float SumOfTwoLargest(Shared<const float> values, int32_t count) {
  float first = kOut, second = kOut;
  for (int32_t i = 0; i < count; ++i) {
    const float v = values[i];
    second = fmaxf(second, fminf(first, v));
    first = fmaxf(first, v);
  }
  return count > 1 ? first + second : first;
}

constexpr float kLeast = -3e38f;  // above kOut

// Puts the experts of all but the best groups out of the race.
__device__ void KeepBestGroups(const RouterArgs& args, Shared<float> choice, Shared<float> claims) {
  const int32_t size = args.experts / args.expert_groups;
  for (int32_t g = threadIdx.x; g < args.expert_groups; g += kThreads) {
    claims[g] = SumOfTwoLargest(choice + g * size, size);
  }
  __syncthreads();
  for (int32_t e = threadIdx.x; e < size * args.expert_groups; e += kThreads) {
    const int32_t group = e / size;
    int32_t better = 0;
    for (int32_t g = 0; g < args.expert_groups; ++g) {
      better += claims[g] > claims[group] || (claims[g] == claims[group] && g < group);
    }
    if (better >= args.top_k_groups) choice[e] = kOut;
  }
  __syncthreads();
}

// One warp; a lane looks after consecutive experts, so the lowest lane among equals has the lowest
// index. Destroys `choice`.
__device__ void TakeBest(const RouterArgs& args, Shared<float> choice, Shared<int32_t> chosen) {
  const int lane = threadIdx.x;
  const int32_t per_lane = DivideUp(args.experts, 32);
  const int32_t begin = lane * per_lane, end = min(begin + per_lane, args.experts);
  float best;
  int32_t index;
  auto look = [&] {
    best = kOut, index = begin;
    for (int32_t e = begin; e < end; ++e) {
      if (choice[e] > best) best = choice[e], index = e;
    }
  };
  look();
  for (int32_t k = 0; k < args.top_k; ++k) {
    const uint32_t candidates = Ballot(best == WarpMax(best));
    if (candidates >> lane & 1 && (candidates & ((1u << lane) - 1)) == 0) {
      chosen[k] = index;
      choice[index] = kOut;
      look();
    }
  }
  __syncwarp();
}

__global__ void __launch_bounds__(kThreads) ChooseKernel(RouterWork work) {
  const RouterArgs& args = work.args;
  const int64_t token = blockIdx.x;
  SharedArena arena;
  Shared<float> score = arena.Take<float>(args.experts);
  Shared<float> choice = arena.Take<float>(args.experts);
  Shared<float> claims = arena.Take<float>(args.expert_groups);
  Shared<int32_t> chosen = arena.Take<int32_t>(args.top_k);

  for (int32_t e = threadIdx.x; e < args.experts; e += kThreads) {
    float logit = 0;
    for (int32_t p = 0; p < work.partials; ++p) {
      logit += work.partial_logits[(int64_t{p} * args.tokens + token) * args.experts + e];
    }
    score[e] = Sigmoid(logit);
    // Not-a-number comes last, so that even then the ids are distinct and exist.
    choice[e] = fmaxf(score[e] + args.bias[e], kLeast);
  }
  __syncthreads();
  if (args.expert_groups > 1) KeepBestGroups(args, choice, claims);
  if (threadIdx.x >= 32) return;
  TakeBest(args, choice, chosen);

  float sum = 0;
  for (int32_t k = 0; k < args.top_k; ++k) sum += score[chosen[k]];
  const float factor = (args.norm_top_k ? 1.0f / (sum + 1e-20f) : 1.0f) * args.routed_scaling;
  for (int32_t k = threadIdx.x; k < args.top_k; k += 32) {
    const int32_t expert = chosen[k];
    const bool hot = args.slot_of != nullptr && args.slot_of[expert] >= 0;
    args.expert_ids[token * args.top_k + k] = hot ? ~expert : expert;
    args.weights[token * args.top_k + k] = score[expert] * factor;
  }
}

int32_t Partials(int32_t tokens, int32_t hidden) {
  return tokens <= kSplitTokens ? Slices(hidden) : 1;
}

constexpr size_t SharedPiece(int64_t bytes) { return (bytes + 127) / 128 * 128; }

template <int kTiles, class Gate>
void LaunchLogits(Stream& stream, const RouterWork& work) {
  Launch(stream, "router logits", LogitsKernel<kTiles, Gate>,
         {.blocks_x = static_cast<uint32_t>(DivideUp(work.args.experts, kExpertTile)),
          .blocks_y = static_cast<uint32_t>(DivideUp(work.args.tokens, 8 * kTiles)),
          .blocks_z = static_cast<uint32_t>(work.partials),
          .threads = kThreads,
          .shared_bytes = SharedPiece(kExpertTile * kStride<Gate> * sizeof(Gate)) +
                          SharedPiece(8 * kTiles * kStride<bf16> * sizeof(bf16)) +
                          SharedPiece(kWarps * kTiles * 8 * kExpertTile * sizeof(float))},
         work);
}

template <class Gate>
void LaunchLogits(Stream& stream, const RouterWork& work) {
  if (work.args.tokens <= 8) {
    LaunchLogits<1, Gate>(stream, work);
  } else {
    LaunchLogits<4, Gate>(stream, work);
  }
}

}  // namespace

int64_t RouterWorkspaceFloats(int32_t tokens, int32_t hidden, int32_t experts) {
  return int64_t{Partials(tokens, hidden)} * tokens * experts;
}

void Router(Stream& stream, const RouterArgs& args) {
  TANDEM_CHECK(args.hidden % kStepInputs == 0, "the router takes 32 inputs at a time");
  TANDEM_CHECK(args.top_k <= args.experts && args.experts % args.expert_groups == 0,
               "a choice of experts that the router cannot make");
  const RouterWork work = {args, args.workspace, Slices(args.hidden),
                           Partials(args.tokens, args.hidden)};
  if (args.gate_bf16 != nullptr) {
    LaunchLogits<bf16>(stream, work);
  } else {
    LaunchLogits<float>(stream, work);
  }
  Launch(stream, "router choice", ChooseKernel,
         {.blocks_x = static_cast<uint32_t>(args.tokens),
          .threads = kThreads,
          .shared_bytes = 2 * SharedPiece(4 * args.experts) + SharedPiece(4 * args.expert_groups) +
                          SharedPiece(4 * args.top_k)},
         work);
}

}  // namespace tandem::TANDEM_GPU
