// Any bytes as a safetensors file: refused with a sentence, or every tensor lies inside the file.
#include <cstdlib>

#include "engine/checkpoint/safetensors.h"
#include "tests/fuzz/scratch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static ScratchFile scratch;
  scratch.Write(data, size);
  const auto file = MappedFile::Open(scratch.path());
  if (!file.ok()) return 0;
  const auto tensors = ParseSafetensors(*file);
  if (!tensors.ok()) return tensors.status().message().empty() ? std::abort(), 0 : 0;
  unsigned sum = 0;
  for (const NamedTensor& tensor : *tensors)
    for (const std::byte byte : tensor.tensor.bytes) sum += static_cast<unsigned>(byte);
  return sum == 1 ? -1 : 0;  // every byte was read
}
