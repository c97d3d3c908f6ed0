// One block per row. Weights e^((logit - max) / temperature) are counted in units of 2^-40, so that
// sums are exact in any order.
//
// Cuts and the draw are found by bisection: over the logits as ordered integers, and over the ids.
// A step of it is a pass over the tokens. Most rows first reduce to a list of the likeliest tokens
// in shared memory, which holds all that the cuts keep; only rows without a cut, or nearly flat
// ones, go on with the whole vocabulary.
#include "gpu_attention/cuda/sampling.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "gpu_attention/cuda/device.cuh"
#include "gpu_attention/cuda/launch.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kListed = 4096;
constexpr float kGreedyBelow = 1e-5f;
constexpr float kUnits = 0x1p40f;
constexpr int kLastId = std::numeric_limits<int32_t>::max();
// How far below the maximum a list may reach, in temperatures.
constexpr int kReaches = 8;
__device__ constexpr float Reach(int i) {
  constexpr float kReach[kReaches] = {1, 2, 4, 6, 8, 11, 15, 20};
  return kReach[i];
}

// Floats in order as integers; -0 is 0.
__device__ __forceinline__ uint32_t KeyOf(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float LogitOf(uint32_t key) {
  return std::bit_cast<float>((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

template <class Combine>
__device__ uint64_t OverBlock(uint64_t x, Shared<uint64_t> scratch, const Combine& combine) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int mask = 16; mask > 0; mask /= 2) x = combine(x, ShuffleXor(x, mask));
  __syncthreads();  // the scratch may still be read from an earlier call
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  x = lane < static_cast<int>(blockDim.x) / 32 ? uint64_t{scratch[lane]} : 0;
  for (int mask = 16; mask > 0; mask /= 2) x = combine(x, ShuffleXor(x, mask));
  return x;
}
__device__ uint64_t BlockTotal(uint64_t x, Shared<uint64_t> scratch) {
  return OverBlock(x, scratch, [](uint64_t a, uint64_t b) { return a + b; });
}
__device__ uint64_t BlockLargest(uint64_t x, Shared<uint64_t> scratch) {
  return OverBlock(x, scratch, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
}

// Two sets of tokens; ForEach(first, last, use) calls use(logit, id) for this thread's share of the
// ids from first to last.
struct WholeRow {
  Global<const float> logits;

  template <class Use>
  __device__ void ForEach(int first, int last, const Use& use) const {
#pragma unroll 4
    for (int id = first + static_cast<int>(threadIdx.x); id <= last; id += blockDim.x)
      use(float{logits[id]}, id);
  }
};
struct ShortList {
  Shared<const uint32_t> keys;
  Shared<const int32_t> ids;
  int count;

  template <class Use>
  __device__ void ForEach(int first, int last, const Use& use) const {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += blockDim.x)
      if (ids[i] >= first && ids[i] <= last) use(LogitOf(keys[i]), int{ids[i]});
  }
};

// The last token that is kept.
struct Cut {
  uint32_t key = 0;
  int id = kLastId;

  __device__ bool Keeps(uint32_t k, int i) const { return k > key || (k == key && i <= id); }
};

// What the searches of one row share.
struct Row {
  int vocab;
  float max, inverse_temperature;
  Shared<uint64_t> scratch;

  // In units.
  __device__ uint64_t Weight(float logit) const {
    return static_cast<uint64_t>(expf((logit - max) * inverse_temperature) * kUnits);
  }

  // Sum of measure(logit, id).
  template <class Tokens, class Measure>
  __device__ uint64_t Total(const Tokens& tokens, int first, int last,
                            const Measure& measure) const {
    uint64_t sum = 0;
    tokens.ForEach(first, last, [&](float x, int id) { sum += measure(x, id); });
    return BlockTotal(sum, scratch);
  }

  // The lowest id at which the measures of all ids up to it reach `target`.
  template <class Tokens, class Measure>
  __device__ int IdAt(const Tokens& tokens, uint64_t target, const Measure& measure) const {
    int first = 0, last = vocab - 1;
    while (first < last) {
      const int middle = first + (last - first) / 2;
      const uint64_t sum = Total(tokens, first, middle, measure);
      if (sum >= target) {
        last = middle;
      } else {
        target -= sum;
        first = middle + 1;
      }
    }
    return first;
  }

  // The shortest run of the tokens that `old` keeps, in order, whose values reach `target`.
  // REQUIRES: 0 < target <= the sum of all values.
  template <class Tokens, class Value>
  __device__ Cut CutAt(const Tokens& tokens, const Cut& old, uint64_t target,
                       const Value& value) const {
    // The largest key whose tokens are needed: bit by bit.
    const uint32_t max_key = KeyOf(max);
    uint32_t key = 0;
    uint64_t reached = 0, before = 0;  // with and without the tokens of that key
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
      const uint32_t tried = key | bit;
      if (tried > max_key) continue;
      const uint64_t sum = Total(tokens, 0, vocab - 1, [&](float x, int id) {
        const uint32_t k = KeyOf(x);
        return k >= tried && old.Keeps(k, id) ? value(x) : 0;
      });
      if (sum >= target) {
        key = tried;
        reached = sum;
      } else {
        before = sum;
      }
    }
    // How many of them.
    const Cut all = {key, old.key == key ? old.id : kLastId};
    const uint64_t each = value(LogitOf(key)), needed = (target - before + each - 1) / each;
    if (needed * each >= reached - before) return all;
    return {key, IdAt(tokens, needed, [&](float x, int id) -> uint64_t {
              return KeyOf(x) == key && all.Keeps(key, id) ? 1 : 0;
            })};
  }

  // total_weight: of the whole row.
  template <class Tokens>
  __device__ int Choose(const Tokens& tokens, const RowSampling& how, uint64_t total_weight) const {
    Cut cut;
    const auto kept_weight = [&](float x, int id) -> uint64_t {
      return cut.Keeps(KeyOf(x), id) ? Weight(x) : 0;
    };
    if (HasTopK(how)) {
      cut = CutAt(tokens, cut, how.top_k, [](float) -> uint64_t { return 1; });
      total_weight = Total(tokens, 0, vocab - 1, kept_weight);
    }
    if (how.top_p < 1) {
      const uint64_t target = MassTarget(how, total_weight);
      // A list may end before: then min_p is stricter.
      if (target <= Total(tokens, 0, vocab - 1, kept_weight))
        cut = CutAt(tokens, cut, target, [&](float x) { return Weight(x); });
    }
    if (how.min_p > 0 && MinPKey(how) > cut.key) cut = {MinPKey(how), kLastId};
    const uint64_t sum = Total(tokens, 0, vocab - 1, kept_weight);
    const auto drawn = static_cast<uint64_t>(how.uniform * static_cast<double>(sum));
    return IdAt(tokens, (drawn < sum ? drawn : sum - 1) + 1, kept_weight);
  }

  __device__ bool HasTopK(const RowSampling& how) const {
    return how.top_k > 0 && how.top_k < vocab;
  }
  __device__ uint32_t MinPKey(const RowSampling& how) const {
    return KeyOf(max + logf(how.min_p) / inverse_temperature);
  }
  __device__ static uint64_t MassTarget(const RowSampling& how, uint64_t total_weight) {
    const auto target =
        static_cast<uint64_t>(ceil(double{how.top_p} * static_cast<double>(total_weight)));
    return target == 0 ? 1 : target < total_weight ? target : total_weight;
  }
};

// Whether the list, which holds all tokens down to lowest_key, holds all that the cuts keep.
__device__ bool HoldsAllKept(const Row& row, const RowSampling& how, int count, uint32_t lowest_key,
                             uint64_t list_weight, uint64_t total_weight) {
  if (row.HasTopK(how)) return how.top_k <= count;
  if (how.top_p < 1 && list_weight >= Row::MassTarget(how, total_weight)) return true;
  return how.min_p > 0 && row.MinPKey(how) >= lowest_key;
}

__global__ void __launch_bounds__(kMaxThreads) SampleKernel(SamplingArgs a) {
  SharedArena arena;
  const Shared<uint64_t> scratch = arena.Take<uint64_t>(32);
  const Shared<uint32_t> keys = arena.Take<uint32_t>(kListed);
  const Shared<int32_t> ids = arena.Take<int32_t>(kListed);
  const Shared<uint32_t> n_listed = arena.Take<uint32_t>(1);
  const int64_t row_index = blockIdx.x;
  const WholeRow tokens = {a.logits + row_index * a.logits_row};
  const int last = a.vocab - 1;

  // The largest logit and its lowest id, if all are finite.
  uint64_t largest = 0, infinite = 0;
  tokens.ForEach(0, last, [&](float x, int id) {
    if (!(fabsf(x) <= std::numeric_limits<float>::max())) infinite = 1;
    const uint64_t place = uint64_t{KeyOf(x)} << 32 | static_cast<uint32_t>(~id);
    if (place > largest) largest = place;
  });
  if (BlockTotal(infinite, scratch) != 0) {
    if (threadIdx.x == 0) a.ids[row_index] = -1, a.logprobs[row_index] = 0;
    return;
  }
  largest = BlockLargest(largest, scratch);
  const float max = LogitOf(static_cast<uint32_t>(largest >> 32));
  int chosen = static_cast<int>(~static_cast<uint32_t>(largest));

  RowSampling how;
  if (a.how != nullptr) how = a.how[row_index];
  if (how.temperature >= kGreedyBelow) {
    const Row row = {a.vocab, max, 1.0f / how.temperature, scratch};

    // How many tokens lie within which reach, and what all weigh.
    uint64_t weight = 0;
    int within[kReaches] = {};
    tokens.ForEach(0, last, [&](float x, int) {
      weight += row.Weight(x);
#pragma unroll
      for (int i = 0; i < kReaches; ++i) within[i] += x >= max - Reach(i) * how.temperature;
    });
    const uint64_t total_weight = BlockTotal(weight, scratch);
    float lowest = max;  // of the widest list that has room
    int count = 0;
    for (int i = 0; i < kReaches; ++i) {
      const int n = static_cast<int>(BlockTotal(static_cast<uint64_t>(within[i]), scratch));
      if (n > kListed) break;
      lowest = max - Reach(i) * how.temperature;
      count = n;
    }

    // The list, in no order.
    if (threadIdx.x == 0) *n_listed = 0;
    __syncthreads();
    tokens.ForEach(0, last, [&](float x, int id) {
      if (count == 0 || x < lowest) return;
      const uint32_t at = AtomicAdd(n_listed, 1u);
      keys[at] = KeyOf(x);
      ids[at] = id;
    });
    __syncthreads();
    const ShortList list = {keys, ids, count};
    const uint64_t list_weight =
        row.Total(list, 0, last, [&](float x, int) { return row.Weight(x); });

    chosen = HoldsAllKept(row, how, count, KeyOf(lowest), list_weight, total_weight)
                 ? row.Choose(list, how, total_weight)
                 : row.Choose(tokens, how, total_weight);
  }

  const Row raw = {a.vocab, max, 1.0f, scratch};
  const uint64_t sum = raw.Total(tokens, 0, last, [&](float x, int) { return raw.Weight(x); });
  if (threadIdx.x == 0) {
    a.ids[row_index] = chosen;
    a.logprobs[row_index] = static_cast<float>(double{tokens.logits[chosen]} - max -
                                               log(static_cast<double>(sum) / kUnits));
  }
}

}  // namespace

void SampleTokens(Stream& stream, const SamplingArgs& args) {
  TANDEM_CHECK(args.vocab > 0 && args.vocab <= 1 << 20, "sums of weights have 64 bits");
  SamplingArgs a = args;
  if (a.logits_row == 0) a.logits_row = a.vocab;
  const int warps = std::clamp((a.vocab + 255) / 256, 1, kMaxThreads / 32);
  Launch(stream, "sample_tokens", SampleKernel,
         {.blocks_x = static_cast<uint32_t>(a.rows),
          .threads = static_cast<uint32_t>(warps * 32),
          .shared_bytes = 32 * sizeof(uint64_t) + 2 * kListed * sizeof(int32_t) + 128},
         a);
}

}  // namespace tandem::TANDEM_GPU
