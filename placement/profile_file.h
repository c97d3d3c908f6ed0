// Expert profiles as files: a sealed file (sealed_file.h) of kind "profile" that holds the protobuf
// of profile.proto. 2.6 MB for Kimi K2.6 with four labels (docs/placement.md).
//
// Counts come back exactly as written, router mass rounded to single precision.
#pragma once

#include <string>

#include "core/status.h"
#include "placement/expert_profile.h"

namespace tandem {

// Errors name path and reason. REQUIRES: CheckProfile() holds.
absl::Status WriteProfile(const std::string& path, const ExpertProfile& profile);

// Errors: as ReadSealedFile(); DATA_LOSS too if the numbers contradict each other.
absl::StatusOr<ExpertProfile> ReadProfile(const std::string& path);

// The same bytes without a file, for the wire. `name` opens the sentence of an error.
std::string ProfileToBytes(const ExpertProfile& profile);
absl::StatusOr<ExpertProfile> ProfileFromBytes(std::string bytes, const std::string& name);

// Whether a profile agrees with itself: sizes fit the model, nothing is negative, ids are in range,
// and what must sum up to the number of tokens does. Error: DATA_LOSS saying what does not.
absl::Status CheckProfile(const ExpertProfile& profile);
// Of these checks, those of the model's numbers: everything else is sized by them.
absl::Status CheckProfileModel(const ModelIdentity& model);

}  // namespace tandem
