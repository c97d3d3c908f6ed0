// A client that sends bytes as they are and reads what comes: for tests of servers, with requests
// that no library would send.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace tandem {

struct RawAnswer {
  int status = 0;                              // 0: the connection ended before a whole answer came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks put together
  bool complete = false;                       // the body came to its end
};

class RawClient {
 public:
  explicit RawClient(const std::string& address);  // HOST:PORT
  ~RawClient();
  RawClient(const RawClient&) = delete;

  bool connected() const { return socket_ >= 0; }
  bool Send(const std::string& bytes);  // false: the other side has closed
  void EndSending();                    // half close
  void Close();
  // Reads one answer (body included), within ten seconds. A 100 Continue is skipped and counted.
  RawAnswer Read();
  // Reads until `text` has come; what came so far. "" at the end or after ten seconds.
  std::string ReadUntil(const std::string& text);
  bool ReadsEnd(std::chrono::milliseconds patience);  // whether the other side closes
  int continues() const { return continues_; }
  int socket() const { return socket_; }

 private:
  bool Fill();  // false: nothing more comes

  int socket_ = -1;
  std::string in_;
  int continues_ = 0;
};

// "POST /path HTTP/1.1", Host, JSON type, length and body.
std::string JsonPost(const std::string& path, const std::string& body,
                     const std::string& more_headers = "");
std::string Get(const std::string& path, const std::string& more_headers = "");

}  // namespace tandem
