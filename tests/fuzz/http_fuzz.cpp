// Any bytes from a connection: requests are read alike however they are cut, and nothing that is
// kept grows beyond its limit.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "service/api/error_status.h"
#include "service/http/request_reader.h"

namespace tandem {
namespace {

constexpr int32_t kMaxHeadBytes = 256, kMaxHeaders = 8;
constexpr int64_t kMaxBodyBytes = 512;

void Check(bool holds) {
  if (!holds) std::abort();
}

// Takes bytes as a connection does, and notes what it would hand on.
class Client {
 public:
  void Take(std::string_view bytes) {
    in_.append(bytes);
    while (error_ == 0 && (in_body_ ? TakeBody() : TakeHead())) {
    }
    Check(error_ != 0 || static_cast<int32_t>(in_.size()) <= kMaxHeadBytes);
  }
  // Whether both saw the same requests and then wait, or refuse what follows, in the same place. A
  // body is refused sooner by one than by the other: Beast looks at chunks as far as they are
  // there.
  friend bool Agree(const Client& a, const Client& b) {
    return a.seen_ == b.seen_ && a.in_body_ == b.in_body_ && (a.in_body_ || a.error_ == b.error_);
  }

 private:
  bool TakeHead() {
    const auto done = reader_.ReadHead(in_);
    if (!done.ok()) return Fail(done.status());
    if (!*done) return false;
    const RequestHead& head = reader_.head();
    Check(static_cast<int32_t>(head.headers.size()) <= kMaxHeaders);
    seen_ += head.method + " " + head.target + "\n";
    size_t bytes = head.method.size() + head.target.size();
    for (const auto& [name, value] : head.headers) {
      seen_ += name + ": " + value + "\n";
      bytes += name.size() + value.size();
    }
    Check(bytes <= static_cast<size_t>(kMaxHeadBytes));
    in_body_ = head.has_body;
    if (!in_body_) reader_.Reset();
    return true;
  }
  bool TakeBody() {
    const auto done = reader_.ReadBody(in_, kMaxBodyBytes);
    Check(!done.ok() || static_cast<int64_t>(reader_.body().size()) <= kMaxBodyBytes);
    if (!done.ok()) return Fail(done.status());
    if (!*done) return false;
    seen_ += "body " + reader_.body() + "\n";
    reader_.Reset();
    in_body_ = false;
    return true;
  }
  bool Fail(const absl::Status& error) {
    const int status = HttpStatusOf(error);
    Check(status >= 400 && status < 600 && status != 500 && !error.message().empty());
    error_ = status;
    return false;
  }

  RequestReader reader_{kMaxHeadBytes, kMaxHeaders};
  std::string in_, seen_;
  bool in_body_ = false;
  int error_ = 0;  // its status; nothing is read any more
};

}  // namespace
}  // namespace tandem

// The first byte says how long the pieces are, the rest is what comes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Client one_by_one, in_pieces, in_large_pieces;
  for (const char& byte : bytes) one_by_one.Take({&byte, 1});
  for (size_t at = 0, piece = data[0] % 64 + 2; at < bytes.size(); at += piece)
    in_pieces.Take(bytes.substr(at, piece));
  for (size_t at = 0; at < bytes.size(); at += 1000) in_large_pieces.Take(bytes.substr(at, 1000));
  Check(Agree(one_by_one, in_pieces));
  Check(Agree(one_by_one, in_large_pieces));
  return 0;
}
