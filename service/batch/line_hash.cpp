#include "service/batch/line_hash.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"
#include "core/status.h"

namespace tandem {

uint64_t LineHash(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

absl::uint128 IdHash(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return absl::MakeUint128(hash.high64, hash.low64);
}

struct FingerprintSum::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

FingerprintSum::FingerprintSum() : state_(std::make_unique<State>()) {
  TANDEM_CHECK(state_->xxh != nullptr && XXH3_128bits_reset(state_->xxh) == XXH_OK,
               "there is memory for a hash");
}
FingerprintSum::~FingerprintSum() = default;

void FingerprintSum::Add(std::string_view text) {
  XXH3_128bits_update(state_->xxh, text.data(), text.size());
}

std::string FingerprintSum::ToHex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
}

}  // namespace tandem
