#include "tools/synth.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <map>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/worker_team.h"
#include "engine/checkpoint/model_config.h"
#include "tools/synth_config.h"
#include "tools/synth_plan.h"
#include "tools/synth_tokenizer.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kMinVocab = 512;                 // 256 bytes and 256 control tokens
constexpr int64_t kPieceBytes = int64_t{8} << 20;  // made and written at a time

// A file being written at any position by any thread. Move-only.
class OutputFile {
 public:
  static absl::StatusOr<OutputFile> Create(const std::string& path, int64_t size_bytes) {
    OutputFile file;
    file.path_ = path;
    file.fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file.fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
    // Takes the space now, so that a full disk shows before hours of writing. File systems that
    // cannot do this say so and are left to find out.
    if (size_bytes > 0 && fallocate(file.fd_, 0, 0, size_bytes) != 0 && errno == ENOSPC) {
      return file.Error(errno);
    }
    return file;
  }
  OutputFile(OutputFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  ~OutputFile() {
    if (fd_ >= 0) close(fd_);
  }

  absl::Status Write(std::span<const std::byte> bytes, int64_t offset) const {
    while (!bytes.empty()) {
      const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Error(n < 0 ? errno : EIO);
      bytes = bytes.subspan(n);
      offset += n;
    }
    return absl::OkStatus();
  }
  absl::Status Close() {
    const int fd = std::exchange(fd_, -1);
    return close(fd) == 0 ? absl::OkStatus() : Error(errno);
  }

 private:
  OutputFile() = default;
  absl::Status Error(int error) const {
    if (error == ENOSPC || error == EDQUOT) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no space left while writing ", path_, "; free some and start again"));
    }
    return absl::ErrnoToStatus(error, absl::StrCat("cannot write ", path_));
  }
  std::string path_;
  int fd_ = -1;
};

// The folder being filled: remembers what it wrote, to take it back after an error.
class Output {
 public:
  explicit Output(std::string dir) : dir_(std::move(dir)) {}

  absl::Status Prepare(bool force) {
    std::error_code error;
    if (fs::exists(dir_, error) && !fs::is_directory(dir_, error)) {
      return absl::AlreadyExistsError(absl::StrCat(dir_, " exists and is not a folder"));
    }
    created_ = fs::create_directories(dir_, error);
    if (error) {
      return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create folder ", dir_));
    }
    if (!fs::is_empty(dir_, error) && !force) {
      return absl::AlreadyExistsError(
          absl::StrCat(dir_, " is not empty; --force replaces the checkpoint in it"));
    }
    for (const auto& entry : fs::directory_iterator(dir_, error)) {
      const std::string name = entry.path().filename().string();
      if (absl::EndsWith(name, ".safetensors") || absl::EndsWith(name, ".safetensors.index.json")) {
        fs::remove(entry.path(), error);
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckSpace(int64_t need_bytes) const {
    std::error_code error;
    const auto space = fs::space(dir_, error);
    if (error || space.available >= static_cast<uintmax_t>(need_bytes)) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat(dir_, ": the checkpoint needs ", BytesText(need_bytes), ", the disk has ",
                     BytesText(static_cast<int64_t>(space.available)), " free"));
  }

  absl::StatusOr<OutputFile> Create(const std::string& name, int64_t size_bytes = 0) {
    written_.push_back(Path(name));
    return OutputFile::Create(Path(name), size_bytes);
  }

  absl::Status WriteText(const std::string& name, const std::string& text) {
    TANDEM_ASSIGN_OR_RETURN(OutputFile file, Create(name));
    TANDEM_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(text)), 0));
    return file.Close();
  }

  void TakeBack() {
    std::error_code error;
    for (const std::string& path : written_) fs::remove(path, error);
    if (created_) fs::remove(dir_, error);  // only if empty
  }

 private:
  std::string Path(const std::string& name) const { return absl::StrCat(dir_, "/", name); }

  std::string dir_;
  bool created_ = false;
  std::vector<std::string> written_;
};

// One tensor's bytes [begin, end) for a worker to make and write.
struct Piece {
  const PlannedTensor* tensor;
  const Filler* filler;  // null: `values` of the tensor
  uint64_t key;
  int64_t begin, end;
};

using Fillers = std::map<std::pair<Fill, float>, Filler>;

const Filler& FillerFor(const PlannedTensor& tensor, Fillers& fillers) {
  return fillers.try_emplace({tensor.fill, tensor.sigma}, tensor.fill, tensor.sigma).first->second;
}

std::vector<Piece> Pieces(const PlannedShard& shard, uint64_t seed, Fillers& fillers) {
  std::vector<Piece> pieces;
  for (const PlannedTensor& tensor : shard.tensors) {
    const Filler* filler = tensor.values.empty() ? &FillerFor(tensor, fillers) : nullptr;
    const uint64_t key = TensorKey(seed, tensor.role);
    for (int64_t begin = 0; begin < tensor.size_bytes; begin += kPieceBytes) {
      pieces.push_back(
          {&tensor, filler, key, begin, std::min(begin + kPieceBytes, tensor.size_bytes)});
    }
  }
  return pieces;
}

absl::Status WritePiece(const Piece& piece, int64_t data_start, const OutputFile& file,
                        std::vector<std::byte>& scratch) {
  const int64_t offset = data_start + piece.tensor->offset + piece.begin;
  if (piece.filler == nullptr) {
    return file.Write(std::as_bytes(std::span(piece.tensor->values)), offset);
  }
  scratch.resize(piece.end - piece.begin);
  piece.filler->Write(piece.key, piece.begin, scratch);
  return file.Write(scratch, offset);
}

// Progress over all shards.
struct Meter {
  const ProgressFn& progress;
  int64_t total_bytes;
  std::atomic<int64_t> done_bytes{0};
  void Add(int64_t bytes) {
    const int64_t done = done_bytes.fetch_add(bytes) + bytes;
    if (progress) progress(done, total_bytes);
  }
};

absl::Status WriteShard(const PlannedShard& shard, uint64_t seed, Output& output, Fillers& fillers,
                        WorkerTeam& team, Meter& meter) {
  TANDEM_ASSIGN_OR_RETURN(OutputFile file, output.Create(shard.file, shard.size_bytes()));
  TANDEM_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(shard.header)), 0));
  const std::vector<Piece> pieces = Pieces(shard, seed, fillers);
  std::vector<std::vector<std::byte>> scratch(team.size());
  std::mutex mutex;
  absl::Status first_error;
  std::atomic<bool> failed{false};
  team.ParallelFor(
      static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t p = begin; p < end && !failed; ++p) {
          const absl::Status status = WritePiece(
              pieces[p], static_cast<int64_t>(shard.header.size()), file, scratch[worker]);
          meter.Add(pieces[p].end - pieces[p].begin);
          if (status.ok()) continue;
          const std::lock_guard lock(mutex);
          if (!failed.exchange(true)) first_error = status;
        }
      });
  TANDEM_RETURN_IF_ERROR(first_error);
  return file.Close();
}

absl::StatusOr<TokenizerFiles> MakeTokenizer(const SynthOptions& options) {
  const int32_t vocab = options.model.shape.vocab;
  if (vocab < kMinVocab) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary of ", vocab, " is too small: 256 bytes and 256 control tokens ",
                     "need ", kMinVocab));
  }
  if (options.tokenizer_dir.empty()) return InventTokenizer(vocab, options.seed);
  return CutTokenizer(options.tokenizer_dir, vocab);
}

absl::Status WriteTokenizer(const TokenizerFiles& files, Output& output) {
  TANDEM_RETURN_IF_ERROR(output.WriteText("tiktoken.model", files.model));
  TANDEM_RETURN_IF_ERROR(output.WriteText("tokenizer_config.json", files.config));
  if (files.chat_template.empty()) return absl::OkStatus();
  return output.WriteText("chat_template.jinja", files.chat_template);
}

// The index comes last: a folder without it is not taken for a checkpoint.
absl::Status WriteAll(const SynthOptions& options, const TokenizerFiles& tokenizer, Output& output,
                      const ProgressFn& progress) {
  TANDEM_RETURN_IF_ERROR(
      output.WriteText("config.json", SynthConfig(options.model).dump(2) + "\n"));
  TANDEM_RETURN_IF_ERROR(output.WriteText("generation_config.json",
                                          SynthGenerationConfig(options.model).dump(2) + "\n"));
  // Whoever asks for a shape that the engine refuses hears it now.
  TANDEM_RETURN_IF_ERROR(ReadModelConfig(options.out_dir).status());
  TANDEM_RETURN_IF_ERROR(WriteTokenizer(tokenizer, output));

  const std::vector<PlannedShard> shards = PlanShards(options.model, options.max_shard_bytes);
  int64_t total_bytes = 0, file_bytes = 0;
  for (const PlannedShard& shard : shards) {
    total_bytes += shard.data_bytes;
    file_bytes += shard.size_bytes();
  }
  TANDEM_RETURN_IF_ERROR(output.CheckSpace(file_bytes));
  WorkerTeam team({.workers = options.threads});
  Fillers fillers;
  Meter meter{progress, total_bytes};
  for (const PlannedShard& shard : shards) {
    TANDEM_RETURN_IF_ERROR(WriteShard(shard, options.seed, output, fillers, team, meter));
  }
  return output.WriteText("model.safetensors.index.json", IndexText(shards));
}

}  // namespace

absl::Status Synthesize(const SynthOptions& options, const ProgressFn& progress) {
  TANDEM_ASSIGN_OR_RETURN(const TokenizerFiles tokenizer, MakeTokenizer(options));
  Output output(options.out_dir);
  TANDEM_RETURN_IF_ERROR(output.Prepare(options.force));
  absl::Status status = WriteAll(options, tokenizer, output, progress);
  if (!status.ok()) output.TakeBack();
  return status;
}

}  // namespace tandem
