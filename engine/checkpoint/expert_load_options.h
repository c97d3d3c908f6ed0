// How the experts of a packed image come into memory, and when they are checked.
#pragma once

namespace tandem {

enum class ExpertsMemory {
  kAuto,  // see MapsExperts() in expert_loader.h
  kMap,   // compute straight from the mapped files
  kCopy,  // read into memory of their own
};

// When the checksums of packed experts are checked. Copies are always checked while they are hot in
// the caches, unless it is kOff.
enum class VerifyExperts {
  kOff,
  kLazy,  // mapped: each expert before its first use. A file that changes afterwards is not noticed
  kFull,  // all of them before the first token
};

struct ExpertLoadOptions {
  ExpertsMemory memory = ExpertsMemory::kAuto;
  VerifyExperts verify = VerifyExperts::kLazy;
};

}  // namespace tandem
