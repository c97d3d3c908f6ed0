#include "engine/checkpoint/packed_manifest.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/config_fields.h"
#include "engine/checkpoint/json_file.h"

namespace tandem {
namespace {

constexpr size_t kSampleBytes = 4096;
constexpr size_t kSamples = 64;

std::optional<Hash128> ParseHash(const std::string& text) {
  Hash128 hash;
  if (text.size() == 32 && absl::SimpleHexAtoi(text.substr(0, 16), &hash.high) &&
      absl::SimpleHexAtoi(text.substr(16), &hash.low) && HexText(hash) == text)
    return hash;
  return std::nullopt;
}

absl::StatusOr<PackedFile> ParseFile(const nlohmann::json& json, const std::string& path) {
  const std::string shape = absl::StrCat(path, ": \"files\" holds ", Quoted(json.dump()),
                                         "; expected {\"name\", \"bytes\", \"xxh3\"}");
  if (!json.is_object()) return absl::InvalidArgumentError(shape);
  ConfigFields fields(json, path, "files.");
  PackedFile file;
  file.name = fields.Text("name", "");
  file.bytes = fields.Int("bytes", 0, int64_t{1} << 50);
  const auto hash = ParseHash(fields.Text("xxh3", ""));
  TANDEM_RETURN_IF_ERROR(fields.status());
  if (!hash || file.name.empty() || file.name.find('/') != std::string::npos)
    return absl::InvalidArgumentError(shape);
  file.hash = *hash;
  return file;
}

void Append(std::string& text, std::span<const std::byte> bytes) {
  text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// The header and evenly spread pieces of the data behind it.
void AppendShard(std::string& text, const MappedFile& file) {
  const auto bytes = file.bytes();
  uint64_t header = 0;
  if (bytes.size() >= 8) std::memcpy(&header, bytes.data(), 8);
  header = std::min<uint64_t>(header + 8, bytes.size());
  absl::StrAppend(&text, std::filesystem::path(file.path()).filename().string(), "\n", bytes.size(),
                  "\n", HexText(HashOf(bytes.first(header))), "\n");
  const auto data = bytes.subspan(header);
  const size_t step = std::max(data.size() / kSamples, kSampleBytes);
  for (size_t at = 0; at < data.size(); at += step)
    Append(text, data.subspan(at, std::min(kSampleBytes, data.size() - at)));
}

}  // namespace

std::string PackedManifest::ToJson() const {
  nlohmann::ordered_json json{{"format", "tandem packed image"},
                              {"version", kPackedVersion},
                              {"complete", complete},
                              {"source", HexText(source)},
                              {"shards", shards},
                              {"files", nlohmann::ordered_json::array()}};
  for (const PackedFile& file : files)
    json["files"].push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"xxh3", HexText(file.hash)}});
  return json.dump(1) + "\n";
}

absl::StatusOr<std::optional<PackedManifest>> ReadManifest(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/", kManifestName);
  auto json = ReadJsonFile(path);
  if (absl::IsNotFound(json.status())) return std::nullopt;
  TANDEM_RETURN_IF_ERROR(json.status());
  if (!json->is_object())
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected an object"));
  ConfigFields fields(*json, path);
  const int64_t version = fields.Int("version", 0, int64_t{1} << 32);
  TANDEM_RETURN_IF_ERROR(fields.status());
  if (version != kPackedVersion) {
    return absl::UnimplementedError(absl::StrCat(
        path, ": version ", version, " of the packed image; this program reads version ",
        kPackedVersion, "; pack the checkpoint again"));
  }
  PackedManifest manifest;
  manifest.complete = fields.Bool("complete", false);
  manifest.shards = static_cast<int32_t>(fields.Int("shards", 1, 1 << 20));
  const auto source = ParseHash(fields.Text("source", ""));
  if (!source) fields.Invalid("\"source\" is no fingerprint of 32 hexadecimal digits");
  TANDEM_RETURN_IF_ERROR(fields.status());
  manifest.source = *source;
  const auto files = json->find("files");
  if (files == json->end() || !files->is_array())
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a list \"files\""));
  for (const nlohmann::json& entry : *files) {
    TANDEM_ASSIGN_OR_RETURN(PackedFile file, ParseFile(entry, path));
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

absl::StatusOr<Hash128> FingerprintOf(const Checkpoint& checkpoint) {
  if (checkpoint.packed() != nullptr) return checkpoint.packed()->source;
  TANDEM_ASSIGN_OR_RETURN(const MappedFile config,
                          MappedFile::Open(checkpoint.dir() + "/config.json"));
  std::string text = HexText(HashOf(config.bytes()));
  std::vector<const MappedFile*> shards;
  for (const MappedFile& shard : checkpoint.shards()) shards.push_back(&shard);
  std::sort(shards.begin(), shards.end(),
            [](const MappedFile* a, const MappedFile* b) { return a->path() < b->path(); });
  for (const MappedFile* shard : shards) AppendShard(text, *shard);
  return HashOf(std::as_bytes(std::span(text)));
}

std::string PackedLayerName(int32_t layer) {
  return absl::StrFormat("experts-layer-%05d.tandem", layer);
}

PackedLayerInfo PackedInfoOf(const ModelShape& shape, int32_t layer,
                             const PackedManifest& manifest) {
  return {layer,           shape.experts,  shape.hidden, shape.expert_intermediate,
          manifest.shards, manifest.source};
}

}  // namespace tandem
