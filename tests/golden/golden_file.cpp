#include "tests/golden/golden_file.h"

#include <cstdlib>
#include <cstring>

namespace tandem::golden {

std::string DataPath(const std::string& name) {
  const char* root = std::getenv("TANDEM_SOURCE_DIR");
  return std::string(root == nullptr ? "." : root) + "/tests/golden/data/" + name;
}

absl::StatusOr<GoldenFile> GoldenFile::Open(const std::string& path) {
  GoldenFile golden;
  TANDEM_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  golden.file_ = std::make_unique<MappedFile>(std::move(file));
  TANDEM_ASSIGN_OR_RETURN(std::vector<NamedTensor> tensors, ParseSafetensors(*golden.file_));
  for (NamedTensor& tensor : tensors) golden.tensors_[tensor.name] = tensor.tensor;
  return golden;
}

const TensorRef& GoldenFile::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  TANDEM_CHECK(found != tensors_.end(), "no such tensor in the golden file");
  return found->second;
}

std::vector<GoldenSequence> ReadSequences(const GoldenFile& file) {
  std::vector<GoldenSequence> sequences;
  for (int i = 0; file.Has(std::to_string(i) + ".prompt"); ++i) {
    const std::string prefix = std::to_string(i) + ".";
    GoldenSequence& sequence = sequences.emplace_back();
    sequence.prompt = file.Values<int32_t>(prefix + "prompt");
    sequence.greedy = file.Values<int32_t>(prefix + "greedy");
    sequence.positions = file.Values<int32_t>(prefix + "positions");
    const auto logits = file.Values<float>(prefix + "logits");
    const int64_t vocab = file.Dim(prefix + "logits", 1);
    for (size_t row = 0; row < sequence.positions.size(); ++row) {
      const auto first = logits.begin() + static_cast<int64_t>(row) * vocab;
      sequence.logits.emplace_back(first, first + vocab);
    }
  }
  return sequences;
}

}  // namespace tandem::golden
