#include "tests/golden/golden_checks.h"

#include <gtest/gtest.h>

namespace tandem::golden {

std::vector<GoldenSequence> LoadGoldens(const std::string& path) {
  auto file = GoldenFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? ReadSequences(*file) : std::vector<GoldenSequence>{};
}

std::unique_ptr<ModelDriver> LoadDriver(const std::string& dir, const DrivenOptions& options) {
  auto driver = ModelDriver::Load(dir, options);
  EXPECT_TRUE(driver.ok()) << driver.status();
  return driver.ok() ? *std::move(driver) : nullptr;
}

std::vector<DrivenSequence> Sequences(const std::vector<GoldenSequence>& goldens, bool continued) {
  std::vector<DrivenSequence> sequences;
  for (const GoldenSequence& golden : goldens) {
    DrivenSequence& sequence = sequences.emplace_back();
    sequence.ids = golden.prompt;
    if (continued) {
      sequence.ids.insert(sequence.ids.end(), golden.greedy.begin(), golden.greedy.end() - 1);
    }
    sequence.wanted.insert(golden.positions.begin(), golden.positions.end());
  }
  return sequences;
}

Deviations Compare(const std::vector<GoldenSequence>& goldens,
                   const std::vector<DrivenSequence>& sequences, double bound) {
  Deviations deviations;
  for (size_t s = 0; s < goldens.size(); ++s) {
    for (size_t i = 0; i < goldens[s].positions.size(); ++i) {
      const int32_t position = goldens[s].positions[i];
      const auto got = sequences[s].logits.find(position);
      if (got == sequences[s].logits.end()) {
        ADD_FAILURE() << "no logits for sequence " << s << ", position " << position;
        continue;
      }
      const Deviation worst = Deviate(got->second, goldens[s].logits[i]);
      EXPECT_LT(worst.fraction, bound) << "sequence " << s << " of " << goldens[s].prompt.size()
                                       << " tokens, position " << position << ", id " << worst.index
                                       << ": got " << worst.got << ", reference " << worst.want;
      deviations.Add(worst.fraction);
    }
  }
  return deviations;
}

void CheckGreedy(const std::string& name, const std::vector<GoldenSequence>& goldens,
                 ModelDriver& driver, double bound) {
  std::map<int32_t, std::vector<float>> first_logits;
  for (const size_t batch : {size_t{1}, goldens.size()}) {
    const std::vector<GoldenSequence> some(goldens.begin(), goldens.begin() + batch);
    for (const int32_t chunk : {300, 64, 17}) {
      const std::string where =
          name + ", batch " + std::to_string(batch) + ", chunk " + std::to_string(chunk);
      SCOPED_TRACE(where);
      auto sequences = Sequences(some, /*continued=*/false);
      driver.Greedy(sequences, chunk, kSteps);
      for (size_t s = 0; s < some.size(); ++s) {
        const std::vector<int32_t> got(sequences[s].ids.end() - kSteps, sequences[s].ids.end());
        EXPECT_EQ(got, some[s].greedy) << "greedy tokens of sequence " << s;
      }
      if (first_logits.empty()) first_logits = sequences[0].logits;
      EXPECT_TRUE(sequences[0].logits == first_logits) << "other bits than alone in one chunk";
      Report(where, Compare(some, sequences, bound));
    }
  }
}

void Report(const std::string& what, const Deviations& deviations) {
  std::printf("%s: max |delta logit| %.3f %% of the range, median %.3f %%, %zu positions\n",
              what.c_str(), 100 * deviations.worst(), 100 * deviations.median(),
              deviations.count());
}

}  // namespace tandem::golden
