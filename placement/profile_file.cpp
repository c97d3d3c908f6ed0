#include "placement/profile_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "placement/identity_proto.h"
#include "placement/profile.pb.h"
#include "placement/sealed_file.h"

namespace tandem {
namespace {

constexpr SealedKind kKind = {"profile", 1};

void ToProto(const RoutingCounts& from, placement::ProfileCounts& to) {
  to.set_tokens(from.tokens);
  if (from.tokens == 0) return;
  to.mutable_hits()->Assign(from.hits.begin(), from.hits.end());
  to.mutable_mass()->Assign(from.mass.begin(), from.mass.end());
}

void ToProto(const std::vector<ExpertPair>& from, placement::ProfilePairs& to) {
  for (const ExpertPair& pair : from) {
    to.add_moe_layer(pair.moe_layer);
    to.add_next_layer(pair.next_layer);
    to.add_first(pair.first);
    to.add_second(pair.second);
    to.add_count(pair.count);
  }
}

placement::Profile ToProto(const ExpertProfile& from) {
  placement::Profile to;
  ToProto(from.model, *to.mutable_model());
  for (const LabelProfile& label : from.labels) {
    placement::ProfileLabel& out = *to.add_labels();
    out.set_name(label.name);
    for (const auto& split : label.counts)
      for (const RoutingCounts& counts : split) ToProto(counts, *out.add_counts());
  }
  for (const DistinctExperts& bucket : from.distinct) {
    placement::DistinctExperts& out = *to.add_distinct();
    out.set_steps(bucket.steps);
    out.set_rows(bucket.rows);
    out.set_distinct(bucket.distinct);
  }
  to.mutable_reuse()->Assign(from.reuse.begin(), from.reuse.end());
  to.set_pair_tokens(from.pair_tokens);
  ToProto(from.pairs, *to.mutable_pairs());
  to.set_window_tokens(from.window_tokens);
  for (const ProfileWindow& window : from.windows) {
    placement::ProfileWindow& out = *to.add_windows();
    out.set_tokens(window.tokens);
    out.mutable_hits()->Assign(window.hits.begin(), window.hits.end());
  }
  to.set_recorded_unix_s(from.recorded_unix_s);
  return to;
}

// Counts without a token are kept out of the file: [cells] zeros.
RoutingCounts FromProto(const placement::ProfileCounts& from, size_t cells) {
  RoutingCounts to{.tokens = from.tokens(),
                   .hits = {from.hits().begin(), from.hits().end()},
                   .mass = {from.mass().begin(), from.mass().end()}};
  if (to.tokens == 0 && to.hits.empty() && to.mass.empty()) {
    to.hits.resize(cells);
    to.mass.resize(cells);
  }
  return to;
}

absl::Status FromProto(const placement::ProfilePairs& from, std::vector<ExpertPair>& to) {
  const int n = from.moe_layer_size();
  if (from.next_layer_size() != n || from.first_size() != n || from.second_size() != n ||
      from.count_size() != n) {
    return absl::DataLossError("its pairs' columns are not equally long");
  }
  for (int i = 0; i < n; ++i)
    to.push_back(
        {from.moe_layer(i), from.next_layer(i), from.first(i), from.second(i), from.count(i)});
  return absl::OkStatus();
}

absl::StatusOr<ExpertProfile> FromProto(const placement::Profile& from) {
  ExpertProfile to{.model = tandem::FromProto(from.model())};
  TANDEM_RETURN_IF_ERROR(CheckProfileModel(to.model));
  const size_t cells = size_t(to.model.moe_layers()) * to.model.experts;
  for (const placement::ProfileLabel& label : from.labels()) {
    if (label.counts_size() != kSplits * kPhases)
      return absl::DataLossError(absl::StrCat("a label has ", label.counts_size(), " counts"));
    LabelProfile& out = to.labels.emplace_back(LabelProfile{.name = label.name(), .counts = {}});
    for (int i = 0; i < label.counts_size(); ++i)
      out.counts[i / kPhases][i % kPhases] = FromProto(label.counts(i), cells);
  }
  if (from.distinct_size() != kRowBuckets)
    return absl::DataLossError(absl::StrCat(from.distinct_size(), " classes of steps"));
  for (int i = 0; i < kRowBuckets; ++i)
    to.distinct[i] = {from.distinct(i).steps(), from.distinct(i).rows(),
                      from.distinct(i).distinct()};
  to.reuse.assign(from.reuse().begin(), from.reuse().end());
  to.pair_tokens = from.pair_tokens();
  TANDEM_RETURN_IF_ERROR(FromProto(from.pairs(), to.pairs));
  to.window_tokens = from.window_tokens();
  for (const placement::ProfileWindow& window : from.windows())
    to.windows.push_back({window.tokens(), {window.hits().begin(), window.hits().end()}});
  to.recorded_unix_s = from.recorded_unix_s();
  return to;
}

absl::StatusOr<ExpertProfile> FromPayload(const std::string& payload, const std::string& name) {
  placement::Profile proto;
  if (!proto.ParseFromString(payload))
    return absl::DataLossError(absl::StrCat(name, ": the profile cannot be parsed"));
  absl::StatusOr<ExpertProfile> profile = FromProto(proto);
  const absl::Status status = profile.ok() ? CheckProfile(*profile) : profile.status();
  if (status.ok()) return profile;
  return absl::DataLossError(
      absl::StrCat(name, ": the profile contradicts itself: ", status.message()));
}

}  // namespace

absl::Status WriteProfile(const std::string& path, const ExpertProfile& profile) {
  return WriteSealedFile(path, kKind, ToProto(profile).SerializeAsString());
}

absl::StatusOr<ExpertProfile> ReadProfile(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(const std::string payload, ReadSealedFile(path, kKind));
  return FromPayload(payload, path);
}

std::string ProfileToBytes(const ExpertProfile& profile) {
  return Seal(kKind, ToProto(profile).SerializeAsString());
}

absl::StatusOr<ExpertProfile> ProfileFromBytes(std::string bytes, const std::string& name) {
  TANDEM_ASSIGN_OR_RETURN(const std::string payload, Unseal(std::move(bytes), kKind, name));
  return FromPayload(payload, name);
}

}  // namespace tandem
