#include "gpu_attention/cuda/gpu_weights.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "gpu_attention/weight_checks.h"

namespace tandem::TANDEM_GPU {
namespace {

// Puts one tensor after the other; the first error ends it.
class Uploader {
 public:
  Uploader(Stream& stream, std::string where) : stream_(stream), where_(std::move(where)) {}

  // Matrices one below the other.
  absl::StatusOr<DeviceBuffer> Matrices(const char* name, std::initializer_list<MatrixView> parts) {
    int64_t elems = 0;
    for (const MatrixView& m : parts) elems += m.size();
    TANDEM_ASSIGN_OR_RETURN(DeviceBuffer buffer, Allocate<bf16>(name, elems));
    int64_t first = 0;
    for (const MatrixView& m : parts) {
      TANDEM_CHECK(m.size() == 0 || (m.stride(1) == 1 && m.stride(0) == m.dim(1)),
                   "checkpoint tensors are contiguous");
      if (m.size() > 0)
        stream_.CopyToDevice(buffer.part<bf16>(first, m.size()), m.data(), m.size());
      first += m.size();
    }
    TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
    return buffer;
  }
  absl::StatusOr<DeviceBuffer> Floats(const char* name, const std::vector<float>& values) {
    TANDEM_ASSIGN_OR_RETURN(DeviceBuffer buffer, Allocate<float>(name, std::ssize(values)));
    stream_.CopyToDevice(buffer.as<float>(), values.data(), std::ssize(values));
    TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
    return buffer;
  }
  absl::StatusOr<DeviceBuffer> Floats(const char* name, const VectorView& v) {
    return Floats(name, ToFloats(v));
  }
  absl::StatusOr<DeviceBuffer> Bf16(const char* name, const View<const float, 2>& m) {
    std::vector<bf16> values;
    values.reserve(m.size());
    for (int64_t r = 0; r < m.dim(0); ++r)
      for (int64_t c = 0; c < m.dim(1); ++c) values.push_back(ToBf16(m(r, c)));
    return Matrices(name, {MatrixView(values.data(), m.shape())});
  }

 private:
  template <class T>
  absl::StatusOr<DeviceBuffer> Allocate(const char* name, int64_t elems) {
    return DeviceBuffer::Allocate(elems * sizeof(T), absl::StrCat(where_, name));
  }
  Stream& stream_;
  std::string where_;
};

absl::Status LoadAttention(const ModelShape& s, const AttentionWeights& w, Uploader& up,
                           DeviceLayer& layer) {
  TANDEM_ASSIGN_OR_RETURN(layer.input_norm, up.Floats("input_layernorm", w.input_norm));
  TANDEM_ASSIGN_OR_RETURN(layer.kv_a_norm, up.Floats("kv_a_layernorm", w.kv_a_norm));
  if (s.q_lora_rank > 0) {
    TANDEM_ASSIGN_OR_RETURN(layer.q_a_norm, up.Floats("q_a_layernorm", w.q_a_norm));
    TANDEM_ASSIGN_OR_RETURN(layer.qa_kva, up.Matrices("q_a_proj, kv_a_proj", {w.q_a, w.kv_a}));
    TANDEM_ASSIGN_OR_RETURN(layer.q, up.Matrices("q_b_proj", {w.q_b}));
  } else {
    TANDEM_ASSIGN_OR_RETURN(layer.qa_kva, up.Matrices("kv_a_proj", {w.kv_a}));
    TANDEM_ASSIGN_OR_RETURN(layer.q, up.Matrices("q_proj", {w.q_proj}));
  }
  TANDEM_ASSIGN_OR_RETURN(layer.kv_b, up.Matrices("kv_b_proj", {w.kv_b}));
  TANDEM_ASSIGN_OR_RETURN(layer.o_proj, up.Matrices("o_proj", {w.o_proj}));
  return absl::OkStatus();
}

absl::Status LoadMlp(const MlpWeights& w, Uploader& up, DeviceMlp& mlp) {
  TANDEM_ASSIGN_OR_RETURN(mlp.gate_up, up.Matrices("gate_proj, up_proj", {w.gate, w.up}));
  TANDEM_ASSIGN_OR_RETURN(mlp.down, up.Matrices("down_proj", {w.down}));
  return absl::OkStatus();
}

absl::Status LoadRouter(const RouterWeights& w, Uploader& up, DeviceLayer& layer) {
  layer.router_is_bf16 = IsBf16(w.gate);
  if (layer.router_is_bf16) {
    TANDEM_ASSIGN_OR_RETURN(layer.router, up.Bf16("router", w.gate));
  } else {
    const std::vector<float> gate(w.gate.data(), w.gate.data() + w.gate.size());
    TANDEM_ASSIGN_OR_RETURN(layer.router, up.Floats("router", gate));
  }
  std::vector<float> bias;
  for (int64_t e = 0; e < w.bias.dim(0); ++e) bias.push_back(w.bias[e]);
  TANDEM_ASSIGN_OR_RETURN(layer.router_bias, up.Floats("router bias", bias));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceGlobals> LoadGlobals(const ModelShape& shape, const GlobalWeights& weights,
                                          Stream& stream) {
  TANDEM_RETURN_IF_ERROR(CheckGlobals(shape, weights));
  Uploader up(stream, "");
  DeviceGlobals globals;
  TANDEM_ASSIGN_OR_RETURN(globals.embedding, up.Matrices("embed_tokens", {weights.embedding}));
  TANDEM_ASSIGN_OR_RETURN(globals.final_norm, up.Floats("norm", weights.final_norm));
  TANDEM_ASSIGN_OR_RETURN(globals.head, up.Matrices("lm_head", {weights.head}));
  return globals;
}

absl::StatusOr<DeviceLayer> LoadLayer(const ModelShape& shape, LayerId id,
                                      const LayerWeights& weights, Stream& stream) {
  TANDEM_RETURN_IF_ERROR(CheckLayer(shape, id, weights));
  Uploader up(stream, absl::StrCat("layer ", id.value, ": "));
  DeviceLayer layer;
  TANDEM_RETURN_IF_ERROR(LoadAttention(shape, weights.attention, up, layer));
  TANDEM_ASSIGN_OR_RETURN(layer.post_attention_norm,
                          up.Floats("post_attention_layernorm", weights.post_attention_norm));
  const bool moe = shape.is_moe(id.value);
  if (!moe) TANDEM_RETURN_IF_ERROR(LoadMlp(weights.dense, up, layer.mlp));
  if (moe && shape.shared_experts > 0)
    TANDEM_RETURN_IF_ERROR(LoadMlp(weights.shared, up, layer.mlp));
  if (moe) TANDEM_RETURN_IF_ERROR(LoadRouter(weights.router, up, layer));
  return layer;
}

int64_t SizeOf(const DeviceGlobals& globals) {
  return globals.embedding.bytes() + globals.final_norm.bytes() + globals.head.bytes();
}

int64_t SizeOf(const DeviceLayer& l) {
  int64_t bytes = 0;
  for (const DeviceBuffer* buffer :
       {&l.input_norm, &l.q_a_norm, &l.kv_a_norm, &l.post_attention_norm, &l.qa_kva, &l.q, &l.kv_b,
        &l.o_proj, &l.mlp.gate_up, &l.mlp.down, &l.router, &l.router_bias})
    bytes += buffer->bytes();
  return bytes;
}

}  // namespace tandem::TANDEM_GPU
