// An HTTP server with routes of the test's own, asked over real sockets.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "service/api/error_status.h"
#include "service/http/http_server.h"
#include "tests/service/raw_client.h"

namespace tandem {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class Logs final : public RequestObserver {
 public:
  void Ended(const RequestLog& log) override {
    std::lock_guard lock(mutex_);
    logs_.push_back(log);
    changed_.notify_all();
  }
  std::vector<RequestLog> Await(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 10s, [&] { return logs_.size() >= count; });
    return logs_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RequestLog> logs_;
};

// Something that a handler's thread says and the test waits for.
class Flag {
 public:
  void Set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  void Reset() {
    std::lock_guard lock(mutex_);
    set_ = false;
  }
  bool Await(std::chrono::milliseconds patience = 10s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

class HttpTest : public testing::Test {
 protected:
  HttpTest() {
    options_.address = "127.0.0.1:0";
    options_.max_body_bytes = 1 << 20;
    options_.times = {.handshake = 2s,
                      .head = 300ms,
                      .body = 500ms,
                      .idle = 2s,
                      .write = 1s,
                      .linger = 500ms,
                      .comment = 100ms};
    AddRoute("GET", "/plain", [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
      exchange->Send({.body = "{}", .headers = {{"X-Caller", request.caller.name}}});
    });
    AddRoute("POST", "/echo", [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
      exchange->Send({.body = request.body});
    });
    AddRoute("GET", "/items/*", [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
      exchange->Send({.body = request.path_tail});
    });
    AddRoute("POST", "/hold", [this](const HttpRequest&, std::shared_ptr<Exchange> exchange) {
      exchange->OnGone([this] { gone_.Set(); });
      held_ = std::move(exchange);
      holding_.Set();
    });
    AddRoute("POST", "/drop", [](const HttpRequest&, std::shared_ptr<Exchange>) {});
    AddRoute("POST", "/throw", [](const HttpRequest&, std::shared_ptr<Exchange>) {
      throw std::runtime_error("/etc/secret at 0x7f0000001234");
    });
  }
  ~HttpTest() override {
    held_.reset();
    server_.reset();
  }

  void AddRoute(const std::string& method, const std::string& path, HttpHandler handler,
                Access access = Access::kKey) {
    routes_.Add({method, path, access, std::move(handler), ToOpenAiError});
  }
  void Start() {
    auto server = HttpServer::Start(options_, routes_, keys_, intake_, {logs_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Address() const { return server_->address(); }
  // "HOST" stands for the server's address.
  std::string Fill(std::string request) const {
    for (size_t at; (at = request.find("HOST")) != request.npos;) request.replace(at, 4, Address());
    return request;
  }
  RawAnswer Ask(const std::string& request) {
    RawClient client(Address());
    client.Send(Fill(request));
    return client.Read();
  }

  HttpServerOptions options_;
  RouteTable routes_;
  ApiKeys keys_;
  WorkQueue intake_{2};
  std::shared_ptr<Logs> logs_ = std::make_shared<Logs>();
  std::shared_ptr<Exchange> held_;
  Flag holding_, gone_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace tandem
