// The first byte says which file of a tokenizer the rest is: tiktoken.model or
// tokenizer_config.json.
#include <cstdlib>

#include "engine/text/tokenizer_files.h"
#include "tests/fuzz/scratch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  if (size == 0) return 0;
  static ScratchFile scratch;
  scratch.Write(data + 1, size - 1);
  absl::Status status;
  if (data[0] % 2 == 0) {
    status = ReadTiktokenModel(scratch.path()).status();
  } else {
    status = ReadSpecialTokens(scratch.path(), 256).status();
  }
  if (!status.ok() && status.message().empty()) std::abort();
  return 0;
}
