// Takes HTTP/1.1 requests out of the bytes of a connection, one after the other. Strict: bare line
// feeds, folded headers, both or several lengths, and encodings other than chunked are errors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/status.h"

namespace tandem {

struct RequestHead {
  std::string method, target;
  bool http_1_0 = false;
  bool keep_alive = true;
  std::map<std::string, std::string> headers;  // names in lower case
  bool has_body = false;
  int64_t body_bytes = -1;  // as announced; -1: chunked

  // nullptr if there is none.
  const std::string* Find(const std::string& name) const;
};

class RequestReader {
 public:
  RequestReader(int32_t max_head_bytes, int32_t max_headers);
  ~RequestReader();

  // Begins a request. Both take what they can from the front of `bytes`; true when head or body is
  // complete. What follows is the next request's. Errors carry an HTTP status (http_error.h); after
  // one the connection cannot be used any more.
  absl::StatusOr<bool> ReadHead(std::string& bytes);
  const RequestHead& head() const { return head_; }
  absl::StatusOr<bool> ReadBody(std::string& bytes, int64_t max_body_bytes);
  std::string& body();
  void Reset();  // for the next request

 private:
  struct Parser;
  absl::Status TakeFields();

  const int32_t max_head_bytes_, max_headers_;
  size_t looked_at_ = 0;  // bytes of an incomplete head known not to end it
  bool body_begun_ = false;
  std::unique_ptr<Parser> parser_;
  RequestHead head_;
};

}  // namespace tandem
