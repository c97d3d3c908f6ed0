#include <cublas_v2.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "gpu_attention/cuda/cuda_call.h"
#include "gpu_attention/cuda/gemm.h"

namespace tandem::cuda {
namespace {

constexpr size_t kWorkspaceBytes = 32 << 20;  // NVIDIA's advice for Hopper

absl::Status FromCublas(cublasStatus_t status, const std::string& what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": cuBLAS: ", cublasGetStatusString(status)));
}

int64_t Or(int64_t value, int64_t otherwise) { return value != 0 ? value : otherwise; }

}  // namespace

struct Gemm::Impl {
  cublasHandle_t handle = nullptr;
  DeviceBuffer workspace;
  Stream::Impl* stream = nullptr;

  ~Impl() {
    if (handle != nullptr) cublasDestroy(handle);
  }
  cublasStatus_t Run(const LinearArgs& a) const;
};

Gemm::Gemm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gemm::Gemm(Gemm&&) noexcept = default;
Gemm& Gemm::operator=(Gemm&&) noexcept = default;
Gemm::~Gemm() = default;

absl::StatusOr<Gemm> Gemm::Create(Stream& stream) {
  UseDevice();
  auto impl = std::make_unique<Impl>();
  impl->stream = stream.impl();
  TANDEM_ASSIGN_OR_RETURN(impl->workspace,
                          DeviceBuffer::Allocate(kWorkspaceBytes, "workspace of cuBLAS"));
  TANDEM_RETURN_IF_ERROR(FromCublas(cublasCreate(&impl->handle), "creating a handle"));
  TANDEM_RETURN_IF_ERROR(
      FromCublas(cublasSetStream(impl->handle, impl->stream->stream), "setting the stream"));
  // Behind cublasSetStream, which resets it. A graph must not use cuBLAS's own workspace.
  TANDEM_RETURN_IF_ERROR(
      FromCublas(cublasSetWorkspace(impl->handle, impl->workspace.as<std::byte>(), kWorkspaceBytes),
                 "setting the workspace"));
  TANDEM_RETURN_IF_ERROR(
      FromCublas(cublasSetMathMode(impl->handle, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION),
                 "setting the precision of sums"));
  return Gemm(std::move(impl));
}

// cuBLAS is column-major: what is y[rows, outputs] here is the transposed [outputs, rows] there.
cublasStatus_t Gemm::Impl::Run(const LinearArgs& a) const {
  const float alpha = 1.0f, beta = a.accumulate ? 1.0f : 0.0f;
  const int64_t w_rows = a.w_transposed ? a.inputs : a.outputs;
  const int64_t x_row = Or(a.x_row, a.inputs), y_row = Or(a.y_row, a.outputs);
  const int64_t w_row = Or(a.w_row, a.w_transposed ? a.outputs : a.inputs);
  void* y = a.y_f32 != nullptr ? static_cast<void*>(a.y_f32) : a.y_bf16;
  return cublasGemmStridedBatchedEx_64(
      handle, a.w_transposed ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N, a.outputs, a.rows, a.inputs,
      &alpha, a.w, CUDA_R_16BF, w_row, Or(a.w_batch, w_rows * w_row), a.x, CUDA_R_16BF, x_row,
      Or(a.x_batch, a.rows * x_row), &beta, y, a.y_f32 != nullptr ? CUDA_R_32F : CUDA_R_16BF, y_row,
      Or(a.y_batch, a.rows * y_row), a.batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

void Gemm::Linear(const LinearArgs& args) {
  TANDEM_CHECK((args.y_f32 != nullptr) != (args.y_bf16 != nullptr), "a product has one output");
  if (args.rows == 0 || args.outputs == 0 || args.batch == 0) return;
  if (!impl_->stream->Begin("Linear")) return;
  impl_->stream->status.Update(FromCublas(
      impl_->Run(args), absl::StrCat("product of ", args.batch, " times ", args.rows, " rows, ",
                                     args.inputs, " inputs, ", args.outputs, " outputs")));
}

}  // namespace tandem::cuda
