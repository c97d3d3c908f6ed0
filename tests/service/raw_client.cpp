#include "tests/service/raw_client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace tandem {
namespace {

constexpr int kPatienceMs = 10'000;

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

RawClient::RawClient(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) Close();
}

RawClient::~RawClient() { Close(); }

void RawClient::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void RawClient::EndSending() { shutdown(socket_, SHUT_WR); }

bool RawClient::Send(const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

bool RawClient::Fill() {
  pollfd ready = {socket_, POLLIN, 0};
  if (socket_ < 0 || poll(&ready, 1, kPatienceMs) <= 0) return false;
  char bytes[16384];
  const ssize_t n = recv(socket_, bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  in_.append(bytes, static_cast<size_t>(n));
  return true;
}

std::string RawClient::ReadUntil(const std::string& text) {
  for (;;) {
    const size_t found = in_.find(text);
    if (found != in_.npos) {
      const std::string taken = in_.substr(0, found + text.size());
      in_.erase(0, taken.size());
      return taken;
    }
    if (!Fill()) return "";
  }
}

bool RawClient::ReadsEnd(std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < until) {
    pollfd ready = {socket_, POLLIN, 0};
    if (poll(&ready, 1, 20) <= 0) continue;
    char bytes[16384];
    if (recv(socket_, bytes, sizeof bytes, 0) <= 0) return true;
  }
  return false;
}

RawAnswer RawClient::Read() {
  RawAnswer answer;
  const std::string head = ReadUntil("\r\n\r\n");
  if (head.empty()) return answer;
  answer.status = std::atoi(head.c_str() + head.find(' '));
  for (size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
    const size_t end = head.find("\r\n", at), colon = head.find(':', at);
    answer.headers[Lower(head.substr(at, colon - at))] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (answer.status == 100) {
    ++continues_;
    return Read();
  }
  if (answer.headers.contains("transfer-encoding")) {
    for (;;) {
      const std::string line = ReadUntil("\r\n");
      if (line.empty()) return answer;
      const size_t size = std::strtoul(line.c_str(), nullptr, 16);
      while (in_.size() < size + 2) {
        if (!Fill()) return answer;
      }
      answer.body += in_.substr(0, size);
      in_.erase(0, size + 2);
      if (size == 0) break;
    }
  } else {
    const size_t size = std::strtoul(answer.headers["content-length"].c_str(), nullptr, 10);
    while (in_.size() < size) {
      if (!Fill()) return answer;
    }
    answer.body = in_.substr(0, size);
    in_.erase(0, size);
  }
  answer.complete = true;
  return answer;
}

std::string JsonPost(const std::string& path, const std::string& body,
                     const std::string& more_headers) {
  return "POST " + path + " HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n" + more_headers + "\r\n" + body;
}

std::string Get(const std::string& path, const std::string& more_headers) {
  return "GET " + path + " HTTP/1.1\r\nHost: HOST\r\n" + more_headers + "\r\n";
}

}  // namespace tandem
