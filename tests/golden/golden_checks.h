// What golden_test and demo_golden_test share: prompts in, deviations out.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/golden/compare.h"
#include "tests/golden/golden_file.h"
#include "tests/golden/model_driver.h"

namespace tandem::golden {

inline constexpr int32_t kSteps = 32;  // greedy tokens of every golden sequence

// Fails the test and returns nothing when the file or the model cannot be read.
std::vector<GoldenSequence> LoadGoldens(const std::string& path);
std::unique_ptr<ModelDriver> LoadDriver(const std::string& dir, const DrivenOptions& options);

// The prompts alone, or with the reference's own continuation (all but its last token).
std::vector<DrivenSequence> Sequences(const std::vector<GoldenSequence>& goldens, bool continued);

// Every stored position of every sequence; a deviation above `bound` fails the test.
Deviations Compare(const std::vector<GoldenSequence>& goldens,
                   const std::vector<DrivenSequence>& sequences, double bound);

// Greedy decoding from the prompts: first the long prompt alone, then all together, in chunks of
// 300, 64 and 17. Tokens and logits must be the reference's, and the way that work is cut into
// steps and shared must not change a bit.
void CheckGreedy(const std::string& name, const std::vector<GoldenSequence>& goldens,
                 ModelDriver& driver, double bound);

// Prints one line of measured figures.
void Report(const std::string& what, const Deviations& deviations);

}  // namespace tandem::golden
