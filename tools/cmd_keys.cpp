// tandem keys: the file of keys that `tandem serve --keys` takes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/access/api_keys.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  std::string file, name;
  bool admin = false;
  KeyLimits limits;
};

// One after the other: two that change a file at once would lose one's change.
class FileLock {
 public:
  explicit FileLock(const std::string& path)
      : file_(open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ >= 0) [[maybe_unused]]
      const int locked = lockf(file_, F_LOCK, 0);
  }
  ~FileLock() {
    if (file_ >= 0) close(file_);
  }

 private:
  const int file_;
};

absl::StatusOr<std::vector<ApiKeys::Entry>> ReadEntries(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::vector<ApiKeys::Entry>();
  const auto keys = ApiKeys::Load(path);
  if (!keys.ok()) return keys.status();
  return keys->entries();
}

// Readers see the old file or the new one, and nobody else may read either.
absl::Status Replace(const std::string& path, const std::vector<ApiKeys::Entry>& entries) {
  std::string text =
      "# Keys of a Tandem server; see `tandem keys --help`. The keys themselves are not here.\n";
  for (const ApiKeys::Entry& entry : entries) absl::StrAppend(&text, ApiKeys::ToLine(entry), "\n");
  const std::string fresh = absl::StrCat(path, ".new");
  unlink(fresh.c_str());
  const int file = open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const bool written = file >= 0 &&
                       write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       fsync(file) == 0;
  if (file >= 0) close(file);
  if (!written || rename(fresh.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    unlink(fresh.c_str());
    return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", why));
  }
  return absl::OkStatus();
}

auto Named(const std::string& name) {
  return [&name](const ApiKeys::Entry& entry) { return entry.name == name; };
}

int Add(const Options& options) {
  const FileLock lock(options.file);
  auto entries = ReadEntries(options.file);
  if (!entries.ok()) return Fail(entries.status());
  if (std::any_of(entries->begin(), entries->end(), Named(options.name))) {
    return Fail(absl::AlreadyExistsError(
        absl::StrCat(options.file, ": has a key named ", options.name, " already")));
  }
  const auto [key, entry] = ApiKeys::Make(options.name, options.admin, options.limits);
  entries->push_back(entry);
  if (const auto status = Replace(options.file, *entries); !status.ok()) return Fail(status);
  std::printf("%s\n", key.c_str());
  std::fprintf(stderr,
               "This is the key of %s; it is shown only now. Restart the server to use it.\n",
               options.name.c_str());
  return 0;
}

int List(const Options& options) {
  const auto keys = ApiKeys::Load(options.file);
  if (!keys.ok()) return Fail(keys.status());
  std::printf("%-32s %-6s %12s %12s %8s\n", "name", "rights", "requests/min", "tokens/min", "open");
  const auto limit = [](int64_t value) { return value == 0 ? "-" : std::to_string(value); };
  for (const ApiKeys::Entry& entry : keys->entries()) {
    std::printf("%-32s %-6s %12s %12s %8s\n", entry.name.c_str(), entry.admin ? "admin" : "user",
                limit(entry.limits.requests_per_minute).c_str(),
                limit(entry.limits.tokens_per_minute).c_str(),
                limit(entry.limits.open_requests).c_str());
  }
  return 0;
}

int Remove(const Options& options) {
  const FileLock lock(options.file);
  const auto keys = ApiKeys::Load(options.file);
  if (!keys.ok()) return Fail(keys.status());
  std::vector<ApiKeys::Entry> entries = keys->entries();
  if (std::erase_if(entries, Named(options.name)) == 0) {
    return Fail(
        absl::NotFoundError(absl::StrCat(options.file, ": has no key named ", options.name)));
  }
  const auto status = Replace(options.file, entries);
  return status.ok() ? 0 : Fail(status);
}

CLI::App* AddCommand(Commands& commands, const std::string& name, const std::string& description,
                     const std::string& example, Options& options) {
  CLI::App* sub = commands.AddTo("keys", name, description, example);
  sub->add_option("file", options.file, "the file of keys")->required()->type_name("FILE");
  return sub;
}

std::string CheckName(const std::string& name) {
  return ApiKeys::IsName(name) ? "" : "expected 1 to 64 letters, digits and ._-@";
}

}  // namespace

void AddKeys(Commands& commands) {
  commands.Group("keys", "make, list and remove the keys that a server asks for");
  auto options = std::make_shared<Options>();
  CLI::App* add = AddCommand(commands, "add", "make a key, add it to FILE, print it once",
                             "  tandem keys add /etc/tandem/keys alice\n"
                             "  tandem keys add keys bot --requests-per-minute 60",
                             *options);
  add->add_option("name", options->name, "whose it is; shown in logs and metrics")
      ->required()
      ->type_name("NAME")
      ->check(CheckName);
  add->add_flag("--admin", options->admin, "may also see and change what is not its own");
  add->add_option("--requests-per-minute", options->limits.requests_per_minute, "0: no limit")
      ->check(CLI::NonNegativeNumber);
  add->add_option("--tokens-per-minute", options->limits.tokens_per_minute,
                  "of prompts (not cached) and answers; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  add->add_option("--open-requests", options->limits.open_requests, "at once; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  commands.OnRun(add, [options] { return Add(*options); });

  CLI::App* list =
      AddCommand(commands, "list", "names, rights and limits", "  tandem keys list keys", *options);
  commands.OnRun(list, [options] { return List(*options); });

  CLI::App* remove = AddCommand(commands, "remove", "take a key out of FILE",
                                "  tandem keys remove keys alice", *options);
  remove->add_option("name", options->name, "whose it is")->required()->type_name("NAME");
  commands.OnRun(remove, [options] { return Remove(*options); });
}

}  // namespace tandem
