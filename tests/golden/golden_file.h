// Reads the golden files, which are safetensors too.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/status.h"
#include "engine/checkpoint/safetensors.h"

namespace tandem::golden {

// A file of tests/golden/data, e.g. "nested_k26/golden.safetensors".
std::string DataPath(const std::string& name);

class GoldenFile {
 public:
  static absl::StatusOr<GoldenFile> Open(const std::string& path);

  // The tensor's elements; T must match its dtype in size. Dies when there is no such tensor.
  template <class T>
  std::vector<T> Values(const std::string& name) const {
    const TensorRef& tensor = Find(name);
    std::vector<T> values(tensor.bytes.size() / sizeof(T));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  int64_t Dim(const std::string& name, int d) const { return Find(name).shape.at(d); }
  bool Has(const std::string& name) const { return tensors_.count(name) > 0; }

 private:
  const TensorRef& Find(const std::string& name) const;
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, TensorRef> tensors_;
};

// What the reference did with one prompt.
struct GoldenSequence {
  std::vector<int32_t> prompt;
  std::vector<int32_t> greedy;
  std::vector<int32_t> positions;  // whose logits are known
  std::vector<std::vector<float>> logits;
};

// Sequences "0.", "1.", ... of a golden file.
std::vector<GoldenSequence> ReadSequences(const GoldenFile& file);

}  // namespace tandem::golden
