#include "engine/checkpoint/pack_dense.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/output_file.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPieceBytes = int64_t{8} << 20;
constexpr size_t kHeaderUnit = 64;  // tensors begin at a multiple of this
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr int64_t kMostSmallFileBytes = int64_t{256} << 20;

using NamedRef = std::pair<std::string, const TensorRef*>;

int64_t DataBytes(const std::vector<NamedRef>& tensors) {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors) sum += static_cast<int64_t>(tensor->bytes.size());
  return sum;
}

std::string SafetensorsHeader(const std::vector<NamedRef>& tensors) {
  nlohmann::ordered_json json{{"__metadata__", {{"format", "pt"}}}};
  int64_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto end = at + static_cast<int64_t>(tensor->bytes.size());
    json[name] = {{"dtype", std::string(Name(tensor->dtype))},
                  {"shape", std::vector<int64_t>(tensor->shape.begin(), tensor->shape.end())},
                  {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = json.dump();
  text.append((kHeaderUnit - (8 + text.size()) % kHeaderUnit) % kHeaderUnit, ' ');
  const uint64_t length = text.size();
  std::string header(8, '\0');
  std::memcpy(header.data(), &length, 8);
  return header + text;
}

// XXH3-128 of a file whose pieces come one after the other.
class RunningHash {
 public:
  RunningHash() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }
  void Add(std::span<const std::byte> piece) {
    XXH3_128bits_update(state_.get(), piece.data(), piece.size());
  }
  Hash128 Take() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.low64, hash.high64};
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

// Calls use(offset, piece) over the bytes of the file, until it returns an error.
template <class Use>
absl::Status ForEachPiece(const DenseFile& file, Meter* meter, Use&& use) {
  TANDEM_RETURN_IF_ERROR(use(0, std::as_bytes(std::span(file.header))));
  auto at = static_cast<int64_t>(file.header.size());
  for (const auto& [name, tensor] : file.tensors) {
    const auto bytes = static_cast<int64_t>(tensor->bytes.size());
    for (int64_t begin = 0; begin < bytes; begin += kPieceBytes) {
      const auto piece = tensor->bytes.subspan(begin, std::min(kPieceBytes, bytes - begin));
      TANDEM_RETURN_IF_ERROR(use(at, piece));
      tensor->file->Advise(piece, /*will_need=*/false);
      at += static_cast<int64_t>(piece.size());
      if (meter != nullptr) meter->Add(static_cast<int64_t>(piece.size()));
    }
  }
  return absl::OkStatus();
}

bool IsThere(const DenseFile& file, const std::string& path) {
  const auto found = MappedFile::Open(path);
  if (!found.ok() || static_cast<int64_t>(found->bytes().size()) != file.bytes) return false;
  return ForEachPiece(file, nullptr,
                      [&](int64_t at, std::span<const std::byte> piece) {
                        const bool same =
                            std::memcmp(found->bytes().data() + at, piece.data(), piece.size());
                        return same ? absl::DataLossError("") : absl::OkStatus();
                      })
      .ok();
}

absl::StatusOr<PackedFile> WriteDenseFile(const DenseFile& file, const std::string& path,
                                          Meter& meter) {
  const bool there = IsThere(file, path);
  OutputFile out;
  if (!there) {
    TANDEM_ASSIGN_OR_RETURN(out, OutputFile::Open(path, file.bytes));
  }
  RunningHash hash;
  TANDEM_RETURN_IF_ERROR(
      ForEachPiece(file, &meter, [&](int64_t at, std::span<const std::byte> piece) {
        hash.Add(piece);
        return there ? absl::OkStatus() : out.WriteAt(at, piece);
      }));
  if (!there) TANDEM_RETURN_IF_ERROR(out.Finish());
  return PackedFile{file.name, file.bytes, hash.Take()};
}

absl::StatusOr<PackedFile> WriteSmallFile(const std::string& dir, const std::string& name,
                                          std::span<const std::byte> content) {
  const std::string path = absl::StrCat(dir, "/", name);
  const auto found = MappedFile::Open(path);
  const bool there = found.ok() && found->bytes().size() == content.size() &&
                     std::equal(content.begin(), content.end(), found->bytes().begin());
  if (!there) TANDEM_RETURN_IF_ERROR(WriteWholeFile(path, content));
  return PackedFile{name, static_cast<int64_t>(content.size()), HashOf(content)};
}

std::string IndexText(const std::vector<DenseFile>& files) {
  int64_t total = 0;
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  for (const DenseFile& file : files) {
    total += DataBytes(file.tensors);
    for (const auto& [name, tensor] : file.tensors) map[name] = file.name;
  }
  return nlohmann::ordered_json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(1);
}

// Weights in any form, and what packing writes itself.
bool IsCopied(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string name = entry.path().filename().string();
  const std::string extension = entry.path().extension().string();
  if (!entry.is_regular_file(error) || name.starts_with(".")) return false;
  for (const char* skipped :
       {".safetensors", ".tandem", ".part", ".bin", ".pth", ".pt", ".gguf", ".onnx", ".h5"})
    if (extension == skipped) return false;
  return !name.ends_with(".safetensors.index.json") && name != kManifestName &&
         static_cast<int64_t>(entry.file_size(error)) <= kMostSmallFileBytes;
}

// config.json last.
std::vector<std::string> SmallFiles(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error))
    if (IsCopied(entry)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(a == "config.json", a) < std::pair(b == "config.json", b);
  });
  return names;
}

}  // namespace

std::vector<DenseFile> PlanDenseFiles(const Checkpoint& checkpoint, const WeightReader& reader,
                                      int64_t max_bytes) {
  std::vector<NamedRef> tensors;
  for (const auto& [name, tensor] : checkpoint.tensors())
    if (!reader.IsRoutedExpert(name)) tensors.emplace_back(name, &tensor);
  std::sort(tensors.begin(), tensors.end(), [](const NamedRef& a, const NamedRef& b) {
    return std::tuple(a.second->file->path(), a.second->bytes.data(), a.first) <
           std::tuple(b.second->file->path(), b.second->bytes.data(), b.first);
  });
  std::vector<DenseFile> files;
  for (NamedRef& tensor : tensors) {
    const auto bytes = static_cast<int64_t>(tensor.second->bytes.size());
    if (files.empty() || DataBytes(files.back().tensors) + bytes > max_bytes) files.emplace_back();
    files.back().tensors.push_back(std::move(tensor));
  }
  for (size_t i = 0; i < files.size(); ++i) {
    files[i].name = absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, files.size());
    files[i].header = SafetensorsHeader(files[i].tensors);
    files[i].bytes = static_cast<int64_t>(files[i].header.size()) + DataBytes(files[i].tensors);
  }
  return files;
}

absl::StatusOr<std::vector<PackedFile>> WriteDenseSide(const Checkpoint& checkpoint,
                                                       const std::vector<DenseFile>& files,
                                                       const std::string& out_dir, WorkerTeam& team,
                                                       Meter& meter) {
  std::vector<PackedFile> written(files.size());
  FirstError error;
  team.ParallelFor(static_cast<int64_t>(files.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end && error.ok(); ++i) {
      auto file = WriteDenseFile(files[i], absl::StrCat(out_dir, "/", files[i].name), meter);
      error.Keep(file.status());
      if (file.ok()) written[i] = *std::move(file);
    }
  });
  TANDEM_RETURN_IF_ERROR(error.Take());
  const std::string index = IndexText(files);
  TANDEM_ASSIGN_OR_RETURN(PackedFile index_file,
                          WriteSmallFile(out_dir, kIndexName, std::as_bytes(std::span(index))));
  written.push_back(std::move(index_file));
  for (const std::string& name : SmallFiles(checkpoint.dir())) {
    TANDEM_ASSIGN_OR_RETURN(const MappedFile source,
                            MappedFile::Open(absl::StrCat(checkpoint.dir(), "/", name)));
    TANDEM_ASSIGN_OR_RETURN(PackedFile copy, WriteSmallFile(out_dir, name, source.bytes()));
    written.push_back(std::move(copy));
  }
  return written;
}

}  // namespace tandem
