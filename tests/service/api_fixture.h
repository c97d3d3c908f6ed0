// An API's routes over a scripted engine, asked without a network.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "service/api/chat_run.h"
#include "service/http/exchange.h"
#include "service/http/target.h"
#include "tests/service/fake_engine.h"

namespace tandem {

// An exchange that keeps what it was sent.
class KeptExchange final : public Exchange {
 public:
  void Send(HttpResponse response) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended_ || streams_) << "answered twice";
    response_ = std::move(response);
    End();
  }
  void BeginEvents(std::function<std::string()>) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended_ || streams_) << "answered twice";
    streams_ = true;
  }
  bool SendEvent(std::string frame) override {
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(streams_ && !ended_);
    EXPECT_TRUE(frame.ends_with("\n\n")) << frame;
    stream_ += frame;
    changed_.notify_all();
    return !deaf_;
  }
  void EndEvents() override {
    std::lock_guard lock(mutex_);
    End();
  }
  void OnGone(std::function<void()> gone) override {
    std::lock_guard lock(mutex_);
    gone_ = std::move(gone);
  }
  RequestLog& log() override { return log_; }

  void Leave() {
    std::function<void()> gone;
    {
      std::lock_guard lock(mutex_);
      gone = gone_;
    }
    if (gone) gone();
  }
  void StopReading() {
    std::lock_guard lock(mutex_);
    deaf_ = true;
  }
  bool WaitForEnd() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return ended_; });
  }
  bool WaitFor(const std::string& text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return stream_.find(text) != std::string::npos; });
  }
  const HttpResponse& response() const { return response_; }
  const std::string& stream() const { return stream_; }
  bool streams() const { return streams_; }

 private:
  void End() {
    ended_ = true;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool streams_ = false, ended_ = false, deaf_ = false;
  HttpResponse response_;
  std::string stream_;
  std::function<void()> gone_;
  RequestLog log_;
};

class ApiFixture : public testing::Test {
 protected:
  using Json = nlohmann::ordered_json;

  void Script(FakeEngine::Script script) {
    script.answer = [this, answer = std::move(script.answer)](const std::string& prompt) {
      prompt_ = prompt;
      return answer(prompt);
    };
    engine_ = std::make_unique<FakeEngine>(std::move(script));
    constraints_ = ConstraintCompiler::Create(engine_->tokenizer(), engine_->config().eos_ids, {});
    context_ = std::unique_ptr<ServiceContext>(new ServiceContext{
        *engine_, gate_, *constraints_, limits_, intake_, writer_, "m", policy_});
    routes_ = {};
    AddRoutes(routes_, *context_);
  }
  void Answer(const std::string& text) {
    Script({.answer = [text](const std::string&) { return text; }});
  }
  virtual void AddRoutes(RouteTable& routes, const ServiceContext& service) = 0;

  std::shared_ptr<KeptExchange> Start(const std::string& method, const std::string& path,
                                      const std::string& body,
                                      std::map<std::string, std::string> headers = {}) {
    auto exchange = std::make_shared<KeptExchange>();
    HttpRequest request = {.method = method, .path = path, .headers = headers, .body = body};
    request.caller.name = caller_;
    const auto target = ParseTarget(path);
    const Match match = target.ok() ? FindRoute(routes_, method, target->path) : Match{};
    if (match.route == nullptr) {
      ADD_FAILURE() << "no route for " << method << " " << path;
      return exchange;
    }
    request.path = target->path;
    request.query = target->query;
    request.path_tail = match.tail;
    match.route->handler(request, exchange);
    return exchange;
  }
  std::shared_ptr<KeptExchange> Ask(const std::string& method, const std::string& path,
                                    const std::string& body) {
    auto exchange = Start(method, path, body);
    EXPECT_TRUE(exchange->WaitForEnd());
    return exchange;
  }
  // The answer of a whole response.
  static Json BodyOf(const KeptExchange& exchange) {
    EXPECT_FALSE(exchange.streams());
    return Json::parse(exchange.response().body, nullptr, false);
  }
  // The data of a stream's events; each event's name is checked against its type.
  static std::vector<Json> EventsOf(const KeptExchange& exchange) {
    std::vector<Json> events;
    std::string rest = exchange.stream();
    while (!rest.empty()) {
      const size_t end = rest.find("\n\n"), line = rest.find("\ndata: ");
      const std::string name = rest.substr(7, line - 7);
      events.push_back(Json::parse(rest.substr(line + 7, end - line - 7)));
      EXPECT_TRUE(rest.starts_with("event: ")) << rest;
      EXPECT_EQ(events.back()["type"], name);
      rest = rest.substr(end + 2);
    }
    return events;
  }

  Limits limits_;
  PromptPolicy policy_;
  Admission admission_{4};
  ApiKeys keys_;
  Gate gate_{admission_, keys_};
  std::string caller_ = "somebody";
  std::string prompt_;  // the last one that the engine was given
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  WorkQueue intake_{1}, writer_{1};
  std::unique_ptr<ServiceContext> context_;
  RouteTable routes_;
};

}  // namespace tandem
