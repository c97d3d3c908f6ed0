#include "engine/checkpoint/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "engine/checkpoint/json_file.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";
constexpr int64_t kMaxIndexBytes = int64_t{512} << 20;

// What the index promises: which shard holds which tensor.
struct ShardIndex {
  std::vector<std::string> files;                     // sorted, no duplicates
  absl::flat_hash_map<std::string, int32_t> file_of;  // tensor -> index into files
};

// A shard lies in the folder itself: no separators, no "..", no surprises.
bool IsPlainFileName(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 255) return false;
  return std::none_of(name.begin(), name.end(), [](unsigned char c) {
    return c == '/' || c == '\\' || c < 0x20 || c == 0x7f;
  });
}

absl::StatusOr<ShardIndex> ReadIndex(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path, kMaxIndexBytes));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected an object \"weight_map\" of tensor names to shard files"));
  }
  ShardIndex index;
  absl::flat_hash_map<std::string, int32_t> number_of;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !IsPlainFileName(file.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(tensor), " is said to lie in ",
                       Quoted(file.is_string() ? file.get<std::string>() : file.dump()),
                       "; expected the plain name of a file in this folder"));
    }
    const auto [it, is_new] = number_of.try_emplace(file.get_ref<const std::string&>(),
                                                    static_cast<int32_t>(number_of.size()));
    if (is_new) index.files.push_back(it->first);
    index.file_of.emplace(tensor, it->second);
  }
  return index;
}

// Every tensor that the index lists must be in the shard it names.
absl::Status CheckIndex(const std::string& dir, const ShardIndex& index,
                        const std::vector<std::vector<NamedTensor>>& shards) {
  size_t found = 0, unlisted = 0;
  for (size_t s = 0; s < shards.size(); ++s) {
    for (const NamedTensor& entry : shards[s]) {
      const auto it = index.file_of.find(entry.name);
      if (it == index.file_of.end()) {
        ++unlisted;
      } else if (it->second == static_cast<int32_t>(s)) {
        ++found;
      }
    }
  }
  if (unlisted != 0) {
    LogWarning("{}/{} does not list {} of the tensors in its shards", dir, kIndexName, unlisted);
  }
  if (found == index.file_of.size()) return absl::OkStatus();

  std::vector<std::set<std::string_view>> names(shards.size());
  for (size_t s = 0; s < shards.size(); ++s) {
    for (const NamedTensor& entry : shards[s]) names[s].insert(entry.name);
  }
  std::vector<std::string> absent;
  for (const auto& [tensor, file] : index.file_of) {
    if (!names[file].contains(tensor)) absent.push_back(tensor);
  }
  std::sort(absent.begin(), absent.end());
  const std::string& file = index.files[index.file_of.at(absent.front())];
  return absl::NotFoundError(
      absl::StrCat(dir, "/", file, ": tensor ", Quoted(absent.front()), " is listed in ",
                   kIndexName, " but is not in this shard (", absent.size(),
                   " such tensors in all); shard and index are not from the same download"));
}

absl::Status NoWeightsError(const std::string& dir) {
  std::error_code error;
  if (!fs::is_directory(dir, error)) {
    return absl::NotFoundError(absl::StrCat("there is no folder ", dir));
  }
  std::string hint;
  if (fs::exists(dir + "/snapshots", error)) {
    hint = "; this looks like a Hugging Face cache: give the folder below snapshots/";
  }
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const auto extension = entry.path().extension();
    if (extension == ".bin" || extension == ".pth" || extension == ".gguf") {
      hint = absl::StrCat("; ", entry.path().filename().string(),
                          " is in a format that is not read: convert it to safetensors");
    }
  }
  return absl::NotFoundError(
      absl::StrCat(dir, " holds neither ", kIndexName, " nor ", kSingleName, hint));
}

absl::StatusOr<MappedFile> MapShard(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);  // follows links
  if (!fs::exists(status)) {
    const bool dangling = fs::is_symlink(fs::symlink_status(path, error));
    return absl::NotFoundError(absl::StrCat("shard ", path, " is missing",
                                            dangling ? ": the link points to nothing" : "",
                                            "; download it again"));
  }
  if (!fs::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat("shard ", path, " is not a regular file"));
  }
  return MappedFile::Open(path);
}

// Headers are independent: two or more shards are parsed side by side.
absl::StatusOr<std::vector<std::vector<NamedTensor>>> ParseAll(
    const std::vector<MappedFile>& files) {
  std::vector<absl::StatusOr<std::vector<NamedTensor>>> parsed(files.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < files.size();) parsed[i] = ParseSafetensors(files[i]);
  };
  const size_t n_threads =
      std::min<size_t>(files.size(), std::clamp(std::thread::hardware_concurrency(), 1u, 16u));
  std::vector<std::thread> threads;
  for (size_t i = 1; i < n_threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  std::vector<std::vector<NamedTensor>> shards;
  shards.reserve(files.size());
  for (auto& shard : parsed) {
    TANDEM_RETURN_IF_ERROR(shard.status());
    shards.push_back(std::move(shard).value());
  }
  return shards;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& dir) {
  auto checkpoint = std::unique_ptr<Checkpoint>(new Checkpoint());
  checkpoint->dir_ = dir;
  TANDEM_ASSIGN_OR_RETURN(checkpoint->packed_, ReadManifest(dir));
  if (checkpoint->packed_) TANDEM_RETURN_IF_ERROR(checkpoint->CheckPackedFiles());
  std::error_code error;
  const std::string index_path = absl::StrCat(dir, "/", kIndexName);
  const bool has_index = fs::exists(index_path, error);
  if (!has_index && !fs::exists(absl::StrCat(dir, "/", kSingleName), error)) {
    return NoWeightsError(dir);
  }
  TANDEM_ASSIGN_OR_RETURN(checkpoint->config_, ReadModelConfig(dir));

  ShardIndex index{.files = {kSingleName}, .file_of = {}};
  if (has_index) {
    TANDEM_ASSIGN_OR_RETURN(index, ReadIndex(index_path));
  }
  TANDEM_RETURN_IF_ERROR(checkpoint->MapShards(index.files));
  TANDEM_ASSIGN_OR_RETURN(auto shards, ParseAll(checkpoint->shards_));
  if (has_index) TANDEM_RETURN_IF_ERROR(CheckIndex(dir, index, shards));
  TANDEM_RETURN_IF_ERROR(checkpoint->AddTensors(std::move(shards)));
  if (checkpoint->packed_) TANDEM_RETURN_IF_ERROR(checkpoint->OpenPackedLayers());
  return checkpoint;
}

// The image is finished, and its weights have the sizes they were written with. Configuration and
// tokenizer may be edited.
absl::Status Checkpoint::CheckPackedFiles() const {
  if (!packed_->complete) {
    return absl::FailedPreconditionError(absl::StrCat(
        dir_,
        " is a packed image that is not finished; run the same tandem pack again, it goes on "
        "where it stopped"));
  }
  for (const PackedFile& file : packed_->files) {
    if (!file.name.ends_with(".safetensors")) continue;
    const std::string path = absl::StrCat(dir_, "/", file.name);
    std::error_code error;
    const uintmax_t bytes = fs::file_size(path, error);
    if (error) return absl::NotFoundError(absl::StrCat(path, " is missing; pack again"));
    if (static_cast<int64_t>(bytes) != file.bytes) {
      return absl::DataLossError(absl::StrCat(path, " has ", bytes, " bytes, ", kManifestName,
                                              " says ", file.bytes, "; pack again"));
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenPackedLayers() {
  const ModelShape& shape = config_.shape;
  packed_layers_.resize(shape.layers);
  for (int32_t l = 0; l < shape.layers; ++l) {
    if (!shape.is_moe(l)) continue;
    const std::string path = absl::StrCat(dir_, "/", PackedLayerName(l));
    auto layer = PackedLayer::Open(path, PackedInfoOf(shape, l, *packed_));
    if (absl::IsNotFound(layer.status()))
      return absl::NotFoundError(absl::StrCat(path, " is missing; run tandem pack again"));
    TANDEM_RETURN_IF_ERROR(layer.status());
    total_bytes_ += shape.experts * (*layer)->layout().expert_bytes();
    packed_layers_[l] = *std::move(layer);
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::MapShards(const std::vector<std::string>& files) {
  shards_.reserve(files.size());
  for (const std::string& file : files) {
    TANDEM_ASSIGN_OR_RETURN(MappedFile shard, MapShard(absl::StrCat(dir_, "/", file)));
    shards_.push_back(std::move(shard));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::AddTensors(std::vector<std::vector<NamedTensor>> shards) {
  size_t n_tensors = 0;
  for (const auto& shard : shards) n_tensors += shard.size();
  tensors_.reserve(n_tensors);
  for (auto& shard : shards) {
    for (NamedTensor& entry : shard) {
      total_bytes_ += static_cast<int64_t>(entry.tensor.bytes.size());
      const auto [it, is_new] = tensors_.try_emplace(std::move(entry.name), entry.tensor);
      if (is_new) continue;
      return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(it->first),
                                                     " is in two shards: ", it->second.file->path(),
                                                     " and ", entry.tensor.file->path()));
    }
  }
  return absl::OkStatus();
}

const TensorRef* Checkpoint::Lookup(std::string_view name) const {
  const auto it = tensors_.find(absl::string_view(name.data(), name.size()));
  return it == tensors_.end() ? nullptr : &it->second;
}

absl::StatusOr<TensorRef> Checkpoint::Find(std::string_view name) const {
  if (const TensorRef* tensor = Lookup(name)) return *tensor;
  return absl::NotFoundError(absl::StrCat(dir_, " has no tensor ", Quoted(std::string(name))));
}

}  // namespace tandem
