#include "engine/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/checkpoint/json_file.h"

namespace tandem {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr int kMaxDims = 16;
constexpr std::string_view kMetadata = "__metadata__";

// A tensor as the header describes it; offsets count from the end of the header.
struct Entry {
  std::string name;
  std::optional<DType> dtype;
  std::optional<TensorDims> shape;
  std::optional<absl::InlinedVector<uint64_t, 2>> offsets;
  uint64_t begin() const { return (*offsets)[0]; }
  uint64_t end() const { return (*offsets)[1]; }
};

// Receives the header as parser events: no document is built, and nothing nests deeper than
// header -> tensor -> list. A handler that returns false has set `problem`.
class HeaderHandler : public nlohmann::json_sax<json> {
 public:
  std::vector<Entry> entries;
  std::string problem;

  bool start_object(size_t) override {
    if (where_ == Where::kStart) return Enter(Where::kHeader);
    if (where_ == Where::kHeader) {
      if (key_ == kMetadata) return Enter(Where::kMetadata);
      entries.emplace_back().name = key_;
      return Enter(Where::kTensor);
    }
    return Unexpected("an object");
  }

  bool end_object() override {
    if (where_ == Where::kHeader) return Enter(Where::kEnd);
    if (where_ == Where::kTensor && !Complete(entries.back())) return false;
    return Enter(Where::kHeader);
  }

  bool key(std::string& key) override {
    key_ = key;
    if (where_ == Where::kHeader && !names_.insert(key).second) {
      return Fail(absl::StrCat("tensor ", Quoted(key), " appears twice in the header"));
    }
    return true;
  }

  bool start_array(size_t) override {
    if (where_ != Where::kTensor) return Unexpected("a list");
    Entry& entry = entries.back();
    if (key_ == "shape" && !entry.shape) {
      entry.shape.emplace();
      return Enter(Where::kShape);
    }
    if (key_ == "data_offsets" && !entry.offsets) {
      entry.offsets.emplace();
      return Enter(Where::kOffsets);
    }
    return Unexpected("a list");
  }

  bool end_array() override { return Enter(Where::kTensor); }

  bool string(std::string& text) override {
    if (where_ == Where::kMetadata) return true;
    if (where_ != Where::kTensor || key_ != "dtype" || entries.back().dtype) {
      return Unexpected("the text " + Quoted(text));
    }
    entries.back().dtype = ParseDType(text);
    if (entries.back().dtype) return true;
    return Fail(absl::StrCat("tensor ", Quoted(entries.back().name), ": unknown dtype ",
                             Quoted(text), "; expected one like BF16, F32, I32"));
  }

  bool number_unsigned(uint64_t value) override {
    if (where_ == Where::kMetadata) return true;
    if (where_ == Where::kShape && value <= uint64_t{INT64_MAX}) {
      if (entries.back().shape->size() >= kMaxDims) return Unexpected("a 17th dimension");
      entries.back().shape->push_back(static_cast<int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets && entries.back().offsets->size() < 2) {
      entries.back().offsets->push_back(value);
      return true;
    }
    return Unexpected(absl::StrCat("the number ", value));
  }

  bool number_integer(int64_t value) override { return Scalar(absl::StrCat("the number ", value)); }
  bool number_float(double, const std::string& text) override {
    return Scalar("the number " + text);
  }
  bool null() override { return Scalar("null"); }
  bool boolean(bool value) override { return Scalar(value ? "true" : "false"); }
  bool binary(json::binary_t&) override { return Scalar("binary data"); }

  bool parse_error(size_t position, const std::string&, const json::exception& error) override {
    return Fail(absl::StrCat("the header is not valid JSON at byte ", position, ": ",
                             std::string(error.what()).substr(0, 200)));
  }

 private:
  enum class Where { kStart, kHeader, kMetadata, kTensor, kShape, kOffsets, kEnd };

  bool Enter(Where where) {
    where_ = where;
    return true;
  }
  bool Fail(std::string why) {
    if (problem.empty()) problem = std::move(why);
    return false;
  }
  bool Scalar(const std::string& what) {
    return where_ == Where::kMetadata ? true : Unexpected(what);
  }
  bool Unexpected(const std::string& what) {
    if (where_ == Where::kStart) return Fail("the header is not a JSON object");
    if (where_ == Where::kHeader) {
      return Fail(absl::StrCat("entry ", Quoted(key_), ": expected an object, found ", what));
    }
    if (where_ == Where::kMetadata) return Fail(absl::StrCat("__metadata__ holds ", what));
    return Fail(absl::StrCat("tensor ", Quoted(entries.back().name), ", key ", Quoted(key_),
                             ": did not expect ", what,
                             "; a tensor has one dtype, one shape, one data_offsets"));
  }
  bool Complete(const Entry& entry) {
    const char* missing = !entry.dtype   ? "dtype"
                          : !entry.shape ? "shape"
                          : !entry.offsets || entry.offsets->size() != 2
                              ? "data_offsets [begin, end]"
                              : nullptr;
    if (missing == nullptr) return true;
    return Fail(absl::StrCat("tensor ", Quoted(entry.name), " lacks ", missing));
  }

  Where where_ = Where::kStart;
  std::string key_;
  absl::flat_hash_set<std::string> names_;
};

// Bytes of a tensor of this shape; nullopt when the product does not fit.
std::optional<uint64_t> ByteSize(DType dtype, const TensorDims& shape) {
  uint64_t size_bytes = static_cast<uint64_t>(SizeBytes(dtype));
  for (int64_t dim : shape) {
    if (__builtin_mul_overflow(size_bytes, static_cast<uint64_t>(dim), &size_bytes)) {
      return std::nullopt;
    }
  }
  return size_bytes;
}

absl::Status CheckEntry(const std::string& path, const Entry& entry, uint64_t data_bytes) {
  const std::string who = absl::StrCat(path, ": tensor ", Quoted(entry.name), ": ");
  const std::string range = absl::StrCat("data_offsets [", entry.begin(), ", ", entry.end(), "]");
  if (entry.begin() > entry.end()) {
    return absl::InvalidArgumentError(absl::StrCat(who, range, " run backwards"));
  }
  const auto expected = ByteSize(*entry.dtype, *entry.shape);
  if (!expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(who, "shape ", ShapeText(*entry.shape), " overflows 64 bits"));
  }
  if (*expected != entry.end() - entry.begin()) {
    return absl::InvalidArgumentError(
        absl::StrCat(who, std::string(Name(*entry.dtype)), " ", ShapeText(*entry.shape), " needs ",
                     *expected, " bytes, but ", range, " hold ", entry.end() - entry.begin()));
  }
  if (entry.end() > data_bytes) {
    return absl::DataLossError(absl::StrCat(path, " is truncated: tensor ", Quoted(entry.name),
                                            " ends at data byte ", entry.end(), ", the file has ",
                                            data_bytes, "; download or copy this file again"));
  }
  return absl::OkStatus();
}

// Entries sorted by position must tile the data section.
absl::Status CheckTiling(const std::string& path, const std::vector<Entry>& entries,
                         uint64_t data_bytes) {
  uint64_t at = 0;
  const std::string* before = nullptr;
  for (const Entry& entry : entries) {
    if (entry.begin() < at) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", Quoted(entry.name), " starts at data byte ",
                       entry.begin(), " and overlaps ", Quoted(*before), ", which ends at ", at));
    }
    if (entry.begin() > at) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", entry.begin() - at,
                                                     " unused bytes before tensor ",
                                                     Quoted(entry.name), " at data byte ", at));
    }
    at = entry.end();
    before = &entry.name;
  }
  if (at == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": the tensors end at data byte ", at,
                                                 ", but the file has ", data_bytes,
                                                 " data bytes; the file does not fit its header"));
}

// Finds the JSON text between the length field and the data.
absl::StatusOr<std::string_view> HeaderText(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.size() < kLengthBytes) {
    return absl::DataLossError(absl::StrCat(file.path(), ": ", bytes.size(),
                                            " bytes are too few for a safetensors file; download "
                                            "or copy this file again"));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length < 2) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(),
                                                   " is not a safetensors file: header length ",
                                                   length, ", expected 2 to ", kMaxHeaderBytes));
  }
  if (length > bytes.size() - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(file.path(), " is truncated: the header has ", length,
                                            " bytes, the file only ", bytes.size() - kLengthBytes,
                                            " after the length; download or copy this file again"));
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
}

}  // namespace

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<std::vector<NamedTensor>> ParseSafetensors(const MappedFile& file) {
  TANDEM_ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file));
  // The parser would take it for the end of the header.
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": the header is not valid JSON at byte ", nul + 1));
  }
  HeaderHandler handler;
  if (!json::sax_parse(text.begin(), text.end(), &handler)) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", handler.problem));
  }
  const auto data = file.bytes().subspan(kLengthBytes + text.size());
  for (const Entry& entry : handler.entries) {
    TANDEM_RETURN_IF_ERROR(CheckEntry(file.path(), entry, data.size()));
  }
  // An empty tensor shares its begin with the next one: the end decides.
  std::sort(handler.entries.begin(), handler.entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin(), a.end()) < std::pair(b.begin(), b.end());
  });
  TANDEM_RETURN_IF_ERROR(CheckTiling(file.path(), handler.entries, data.size()));

  std::vector<NamedTensor> tensors;
  tensors.reserve(handler.entries.size());
  for (Entry& entry : handler.entries) {
    tensors.push_back({std::move(entry.name),
                       {*entry.dtype, std::move(*entry.shape),
                        data.subspan(entry.begin(), entry.end() - entry.begin()), &file}});
  }
  return tensors;
}

}  // namespace tandem
