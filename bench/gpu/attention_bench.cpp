#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "bench/gpu/parts.h"
#include "gpu_attention/cuda/mla_decode.h"
#include "gpu_attention/cuda/mla_prefill.h"
#include "gpu_attention/step_batch.h"

namespace tandem::TANDEM_GPU {
namespace {

float Scale(const ModelShape& s) { return 1.0f / std::sqrt(static_cast<float>(s.qk_dim())); }

// Pages [0, n) in some order.
std::vector<int32_t> Shuffled(int64_t n) {
  std::vector<int32_t> pages(n);
  std::iota(pages.begin(), pages.end(), 0);
  std::mt19937 random(1);
  std::ranges::shuffle(pages, random);
  return pages;
}

// `cache` is one big layer; rotating through it makes every launch cold.
absl::Status Decode(BenchContext& bench, const DeviceBuffer& cache, int32_t rows, int32_t kv_len) {
  const ModelShape& s = bench.shape();
  const int64_t page_elems = int64_t{kPageTokens} * s.cache_dim();
  const int64_t pages = rows * int64_t{kv_len / kPageTokens};
  const double bytes = 2.0 * pages * page_elems;
  const auto cache_pages = static_cast<int64_t>(cache.bytes() / sizeof(bf16)) / page_elems;
  const int copies = static_cast<int>(
      std::min<int64_t>(bench.ColdCopies(bytes), std::max<int64_t>(1, cache_pages / pages)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer table, bench.Upload(Shuffled(pages)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer lengths,
                          bench.Upload(std::vector<int32_t>(rows, kv_len)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer query,
                          bench.Random(int64_t{rows} * s.heads * s.cache_dim()));
  const DeviceProperties& device = bench.device();
  const int32_t splits =
      DecodeSplits(rows, s.heads, kv_len, device.multiprocessors, device.shared_bytes_per_block);
  const DecodeWorkspace room = DecodeWorkspaceFor(rows, splits, s.heads, s.kv_lora_rank);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer partial, bench.Room<float>(room.partial_elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer lse, bench.Room<float>(room.lse_elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer out,
                          bench.Room<bf16>(int64_t{rows} * s.heads * s.kv_lora_rank));
  const MlaDecodeArgs args = {.rows = rows,
                              .heads = s.heads,
                              .latent = s.kv_lora_rank,
                              .rope = s.qk_rope_dim,
                              .scale = Scale(s),
                              .n_splits = splits,
                              .shared_bytes_per_block = device.shared_bytes_per_block,
                              .query = query.as<bf16>(),
                              .pages = table.as<int32_t>(),
                              .pages_row = kv_len / kPageTokens,
                              .kv_len = lengths.as<int32_t>(),
                              .partial = partial.as<float>(),
                              .lse = lse.as<float>(),
                              .out = out.as<bf16>()};
  return bench.Time(std::max(copies, 2),
                    [&](Stream& stream, int i) {
                      MlaDecodeArgs turn = args;
                      turn.cache =
                          cache.part<bf16>(i % copies * pages * page_elems, pages * page_elems);
                      MlaDecode(stream, turn);
                    },
                    {.what = "MLA decode",
                     .shape = absl::StrCat("batch ", rows, ", context ", kv_len),
                     .bytes = bytes,
                     .goal_percent = rows == 8 && kv_len == 32768 ? 70.0 : 0.0});
}

absl::Status AllDecode(BenchContext& bench) {
  const ModelShape& s = bench.shape();
  const std::vector<int32_t> batches = bench.Pick<std::vector<int32_t>>({1, 8, 32}, {1, 2});
  const std::vector<int32_t> contexts =
      bench.Pick<std::vector<int32_t>>({1024, 8192, 32768, 131072}, {64, 192});
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer cache,
                          bench.Random(int64_t{batches.back()} * contexts.back() * s.cache_dim()));
  for (const int32_t rows : batches)
    for (const int32_t kv_len : contexts)
      TANDEM_RETURN_IF_ERROR(Decode(bench, cache, rows, kv_len));
  return absl::OkStatus();
}

// One slice, its keys expanded already: the kernel alone, key block after key block.
absl::Status Prefill(BenchContext& bench, int32_t tokens, int32_t kv_len, int32_t block) {
  const ModelShape& s = bench.shape();
  const int32_t qk = s.qk_dim(), kv_width = s.qk_nope_dim + s.v_dim;
  const int64_t rows = int64_t{tokens} * s.heads;
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer q, bench.Random(rows * qk));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer kv, bench.Random(int64_t{block} * s.heads * kv_width));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer k_pe, bench.Random(int64_t{block} * s.qk_rope_dim));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer acc, bench.Room<float>(rows * s.v_dim));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer max, bench.Room<float>(rows));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer sum, bench.Room<float>(rows));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer out, bench.Room<bf16>(rows * s.v_dim));
  const auto put = [&](Stream& stream, int) {
    for (int32_t begin = 0; begin < kv_len + tokens; begin += block) {
      const int32_t len = std::min(block, kv_len + tokens - begin);
      MlaPrefill(stream, {.tokens = tokens,
                          .kv_len = kv_len,
                          .heads = s.heads,
                          .nope = s.qk_nope_dim,
                          .rope = s.qk_rope_dim,
                          .v = s.v_dim,
                          .scale = Scale(s),
                          .begin = begin,
                          .len = len,
                          .first = begin == 0,
                          .last = begin + len == kv_len + tokens,
                          .q = q.as<bf16>(),
                          .kv = kv.as<bf16>(),
                          .k_pe = k_pe.as<bf16>(),
                          .k_pe_row = s.qk_rope_dim,
                          .acc = acc.as<float>(),
                          .max = max.as<float>(),
                          .sum = sum.as<float>(),
                          .out = out.as<bf16>()});
    }
  };
  const double pairs = double{1} * tokens * kv_len + 0.5 * tokens * (tokens + 1.0);
  return bench.Time(2, put,
                    {.what = "MLA prefill",
                     .shape = absl::StrCat(tokens, " tokens after ", kv_len),
                     .flops = 2.0 * pairs * s.heads * (qk + s.v_dim)});
}

}  // namespace

absl::Status BenchAttention(BenchContext& bench) {
  TANDEM_RETURN_IF_ERROR(AllDecode(bench));
  if (bench.quick()) return Prefill(bench, 40, 24, 32);
  TANDEM_RETURN_IF_ERROR(Prefill(bench, 512, 0, 2048));
  TANDEM_RETURN_IF_ERROR(Prefill(bench, 2048, 0, 2048));
  return Prefill(bench, 512, 7680, 2048);
}

}  // namespace tandem::TANDEM_GPU
