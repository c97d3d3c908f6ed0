#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "service/ops/ops_routes.h"
#include "tests/service/answered.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using tandem::testing::Answered;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Takes the answer of a handler that sends it at once.
class Catcher final : public Exchange {
 public:
  void Send(HttpResponse response) override { sent = std::move(response); }
  void BeginEvents(std::function<std::string()>) override {}
  bool SendEvent(std::string) override { return false; }
  void EndEvents() override {}
  void OnGone(std::function<void()>) override {}
  RequestLog& log() override { return log_; }

  HttpResponse sent{.status = 0};

 private:
  RequestLog log_;
};

class OpsTest : public ::testing::Test {
 protected:
  OpsTest() {
    AddOpsRoutes(table_, {metrics_, live_, gate_, [this] { return serving_; }});
  }

  HttpResponse Ask(const std::string& method, const std::string& path, HttpRequest request = {}) {
    for (const Route& route : table_.routes()) {
      const bool star = route.path.ends_with('*');
      const std::string start = route.path.substr(0, route.path.size() - star);
      if (route.method != method || (star ? !path.starts_with(start) : path != start)) continue;
      request.method = method;
      request.path = path;
      if (star) request.path_tail = path.substr(start.size());
      request.caller.admin = true;
      const auto catcher = std::make_shared<Catcher>();
      route.handler(request, catcher);
      return catcher->sent;
    }
    ADD_FAILURE() << method << " " << path << " is not a route";
    return {};
  }
  json Live(const std::string& heat = "decode") {
    const HttpResponse response = Ask("GET", "/api/live", {.query = {{"heat", heat}}});
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  // The engine says the prompt again: a token per byte.
  void Say(const std::string& text) {
    GenerationRequest request;
    request.prompt_ids = engine_.tokenizer().Encode(text, false);
    ASSERT_TRUE(RunToEnd(engine_, request).ok());
    ASSERT_TRUE(engine_.HasFinished(++said_));
  }
  // Waits for what another thread is about to do.
  static bool Soon(const std::function<bool()>& what) {
    for (int i = 0; i < 1000 && !what(); ++i) std::this_thread::sleep_for(5ms);
    return what();
  }

  FakeEngine engine_{{}};
  Admission admission_{8};
  ApiKeys keys_;
  Gate gate_{admission_, keys_};
  Metrics metrics_{engine_, {"0.1.0", "fake \"model\""}, [this] { return admission_.open(); }};
  LiveView live_{engine_, "fake", [this] { return admission_.open(); }, {.patience = 300ms}};
  bool serving_ = true;
  size_t said_ = 0;
  RouteTable table_;
};

// Prometheus's text format, read by its rules: {name with labels: value}; checks that every sample
// belongs to a family that was announced, and stands behind it.
std::map<std::string, double> ReadMetrics(const std::string& text) {
  static const std::regex sample(
      R"re(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)*\})? (\S+))re");
  std::map<std::string, double> values;
  std::string family;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (line.starts_with("# TYPE "))
      family = std::vector<std::string>(absl::StrSplit(line, ' '))[2];
    if (line.empty() || line.starts_with('#')) continue;
    std::smatch match;
    if (!std::regex_match(line, match, sample)) {
      ADD_FAILURE() << "not a sample: " << line;
      continue;
    }
    EXPECT_TRUE(match[1].str().starts_with(family)) << line << " behind " << family;
    const std::string name = match[1].str() + match[2].str();
    EXPECT_TRUE(values.emplace(name, std::stod(match[5])).second) << "twice: " << name;
  }
  return values;
}

TEST_F(OpsTest, MetricsCountRequests) {
  metrics_.Ended(Answered("GET /api/live"));
  metrics_.Ended(Answered("GET /api/live"));
  metrics_.Ended(Answered("GET /metrics", 401));
  RequestLog rpc = Answered("/tandem.v1.Inference/Chat", 8);
  rpc.transport = "grpc";
  rpc.generated = false;
  metrics_.Ended(rpc);
  const HttpResponse response = Ask("GET", "/metrics");
  EXPECT_EQ(response.content_type, "text/plain; version=0.0.4; charset=utf-8");
  auto values = ReadMetrics(response.body);
  const std::string requests = "tandem_requests_total";
  EXPECT_EQ(values[requests + R"({route="GET /api/live",status="200",transport="http"})"], 2);
  EXPECT_EQ(values[requests + R"({route="GET /metrics",status="401",transport="http"})"], 1);
  EXPECT_EQ(values[requests + R"({route="/tandem.v1.Inference/Chat",status="RESOURCE_EXHAUSTED",)"
                              R"(transport="grpc"})"],
            1);
  EXPECT_EQ(values[R"(tandem_request_tokens_total{kind="prompt"})"], 3 * 36);
  EXPECT_EQ(values[R"(tandem_request_tokens_total{kind="cached_prompt"})"], 3 * 64);
  EXPECT_EQ(values[R"(tandem_request_tokens_total{kind="completion"})"], 3 * 11);
  EXPECT_EQ(values["tandem_time_to_first_token_seconds_count"], 3);
  EXPECT_DOUBLE_EQ(values["tandem_time_per_output_token_seconds_sum"], 3 * 0.1);
  EXPECT_EQ(values[R"(tandem_queue_seconds_bucket{le="0.1"})"], 0);
  EXPECT_EQ(values[R"(tandem_queue_seconds_bucket{le="0.25"})"], 3);
  EXPECT_EQ(values[R"(tandem_answers_total{finish="stop"})"], 3);
  EXPECT_EQ(values[R"(tandem_build_info{model="fake \"model\"",version="0.1.0"})"], 1);
}

TEST_F(OpsTest, MetricsTellOfEngineAndProcess) {
  Say("abcde");
  auto values = ReadMetrics(metrics_.Text());
  EXPECT_EQ(values["tandem_engine_generated_tokens_total"], 5);
  EXPECT_EQ(values[R"(tandem_requests_waiting{priority="batch"})"], 0);
  EXPECT_NEAR(values[R"(tandem_step_seconds{phase="decode",side="dense"})"], 3e-3, 1e-9);
  EXPECT_GT(values["process_resident_memory_bytes"], 1 << 20);
  EXPECT_GE(values["process_resident_memory_bytes"],
            values["process_resident_private_memory_bytes"]);
  EXPECT_GT(values["process_open_fds"], 2);
  EXPECT_GT(values["process_cpu_seconds_total"], 0);
  const double now_s =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(values["process_start_time_seconds"], now_s, 120);
}

// Names of metrics, without what histograms append.
std::set<std::string> MetricNames(const std::string& text) {
  static const std::regex name(R"re(\b(tandem|process)_[a-z_]+[a-z])re");
  static const std::regex part("_(bucket|sum|count)$");
  std::set<std::string> names;
  for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it)
    names.insert(std::regex_replace(it->str(), part, ""));
  return names;
}

std::string ReadSourceFile(const std::string& name) {
  const char* source = std::getenv("TANDEM_SOURCE_DIR");
  std::ifstream file((source != nullptr ? std::string(source) : ".") + "/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(OpsTest, DashboardAndDocumentNameTheMetricsThatThereAre) {
  metrics_.Ended(Answered("GET /metrics"));
  metrics_.WatchBatches([] { return BatchCounts{.running = 1, .done = 7, .failed = 2}; });
  EXPECT_THAT(metrics_.Text(), HasSubstr("tandem_batch_requests_total{result=\"answered\"} 5"));
  std::set<std::string> exported;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(metrics_.Text(), '\n')))
    if (line.starts_with("# TYPE ")) exported.merge(MetricNames(line));
  ASSERT_GT(exported.size(), 25u);

  std::string queries;
  const json dashboard = json::parse(ReadSourceFile("tools/deploy/grafana_dashboard.json"));
  for (const json& panel : dashboard["panels"])
    for (const json& target : panel["targets"]) queries += target["expr"].get<std::string>() + "\n";
  EXPECT_GT(MetricNames(queries).size(), 20u);
  for (const std::string& name : MetricNames(queries))
    EXPECT_TRUE(exported.contains(name)) << "the dashboard asks for " << name;

  std::string table;
  const std::vector<std::string> lines = absl::StrSplit(ReadSourceFile("docs/operations.md"), '\n');
  for (const std::string& line : lines)
    if (line.starts_with("| `tandem_") || line.starts_with("| `process_")) table += line;
  EXPECT_THAT(MetricNames(table), ::testing::ElementsAreArray(exported));
}

TEST_F(OpsTest, ClientsCannotMakeLabels) {
  const size_t before = ReadMetrics(metrics_.Text()).size();
  for (int i = 0; i < 1000; ++i) {
    RequestLog log = Answered("GET /secret/" + std::to_string(i), 404);
    log.finish = "made up " + std::to_string(i);
    log.caller = log.task = log.agent = std::to_string(i);
    metrics_.Ended(log);
    metrics_.Ended(Answered("GET /api/tasks/" + std::to_string(i)));
    log.transport = "grpc";
    log.method = "no method " + std::to_string(i);
    metrics_.Ended(log);
  }
  const std::string text = metrics_.Text();
  EXPECT_THAT(text, AllOf(HasSubstr("route=\"other\""), HasSubstr("route=\"GET /api/tasks/*\""),
                          Not(HasSubstr("secret")), Not(HasSubstr("made up"))));
  EXPECT_LT(ReadMetrics(text).size(), before + 200);
}

TEST_F(OpsTest, LiveShowsRatesAndLayers) {
  json live = Live();
  EXPECT_EQ(live["model"], "fake");
  EXPECT_TRUE(live["rates"].is_null()) << "nothing to compare with";
  std::this_thread::sleep_for(150ms);
  Say(std::string(30, 'a'));
  live = Live("none");
  const double seconds = live["rates"]["seconds"];
  EXPECT_NEAR(live["rates"]["generated_per_s"], 30 / seconds, 0.1 * 30 / seconds);
  EXPECT_EQ(live["tokens"]["generated"], 30);
  EXPECT_EQ(live["queue"]["waiting"], 0);
  EXPECT_EQ(live["batch"]["running"], 0);
  EXPECT_THAT(live["layers"]["decode"]["dense_ms"], ElementsAre(0, 1, 2));
  EXPECT_TRUE(live["heat"].is_null());
  EXPECT_EQ(Ask("GET", "/api/live", {.query = {{"heat", "<b>"}}}).status, 400);
}

TEST_F(OpsTest, HeatIsOfWhatWasUsed) {
  Live();
  ASSERT_TRUE(Soon([&] { return engine_.n_observers() == 1; }));
  Say("aaaah");  // 'a' is 97: experts 1 and 2 of both layers; 'h' is 104: 0 and 1
  const json heat = Live()["heat"];
  EXPECT_EQ(heat["layers"], 2);
  EXPECT_EQ(heat["experts"], 8);
  EXPECT_EQ(heat["first_layer"], 1);
  EXPECT_NEAR(heat["hits"], 20, 1);
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(heat["sixteenths_of_even_share"].get<std::string>(), &bytes));
  ASSERT_EQ(bytes.size(), 16u);
  // Ten hits of a layer: 1, 5, 4 of experts 0, 1, 2; an even share would be 10 / 8.
  EXPECT_NEAR(bytes[0], 16 * 0.8, 1);
  EXPECT_NEAR(bytes[1], 16 * 4.0, 1);
  EXPECT_NEAR(bytes[2], 16 * 3.2, 1);
  EXPECT_EQ(bytes[3], 0);
  EXPECT_EQ(bytes.substr(0, 8), bytes.substr(8));
  EXPECT_EQ(Live("prefill")["heat"]["hits"], 0);
}

TEST_F(OpsTest, NobodyIsObservedUnseen) {
  EXPECT_EQ(engine_.n_observers(), 0u);
  Live();
  ASSERT_TRUE(Soon([&] { return engine_.n_observers() == 1; }));
  for (int i = 0; i < 5; ++i) {  // looks keep it going
    std::this_thread::sleep_for(100ms);
    Live();
    EXPECT_EQ(engine_.n_observers(), 1u);
  }
  EXPECT_TRUE(Soon([&] { return engine_.n_observers() == 0; }));
  Live();
  EXPECT_TRUE(Soon([&] { return engine_.n_observers() == 1; }));
}

TEST(HeatMapTest, HitsFadeAndHotOnesAreMarked) {
  const ModelIdentity model = {
      .architecture = "x", .layers = 2, .dense_layers = 1, .experts = 4, .top_k = 2};
  HeatMap map(model, 10ms);
  const auto step = [&](int32_t first, int32_t second) {
    const RoutedRow row = {0, "", Phase::kDecode};
    const int32_t ids[] = {first, second};
    const float weights[] = {0.5f, 0.5f};
    map.BeginStep({&row, 1});
    map.Routed({1}, 0, {ids, {1, 2}}, {weights, {1, 2}});
    map.EndStep();
  };
  step(0, ~3);
  EXPECT_EQ(map.Look(Phase::kDecode).hot, (std::vector<bool>{false, false, false, true}));
  std::this_thread::sleep_for(100ms);
  EXPECT_LT(map.Look(Phase::kDecode).hits[0], 1 / 512.0) << "ten half lives";
  map.EndStep();
  step(1, 3);
  const HeatMap::Picture picture = map.Look(Phase::kDecode);
  EXPECT_GT(picture.hits[1], 30 * picture.hits[0]) << "a new hit outweighs an old one";
  EXPECT_FALSE(picture.hot[3]) << "cold again";
  // Twenty and more half lives: weights stay within a float.
  std::this_thread::sleep_for(300ms);
  map.EndStep();
  step(2, 2);
  const float hit = map.Look(Phase::kDecode).hits[2];
  EXPECT_TRUE(std::isfinite(hit) && hit > 0.1f && hit <= 2.1f) << hit;
}

TEST_F(OpsTest, HealthSaysWhetherItServes) {
  EXPECT_EQ(Ask("GET", "/health").status, 200);
  serving_ = false;
  EXPECT_EQ(Ask("GET", "/health").status, 503);
  EXPECT_EQ(json::parse(Ask("GET", "/version").body)["version"], "0.1.0");
}

TEST_F(OpsTest, OnlyFilesAndHealthAreOpen) {
  for (const Route& route : table_.routes()) {
    const bool file = route.path == "/" || route.path.ends_with(".js") ||
                      route.path.ends_with(".css") || route.path.ends_with(".svg");
    EXPECT_EQ(route.access == Access::kOpen, file || route.path == "/health") << route.path;
    EXPECT_TRUE(route.write_error) << route.path;
  }
}

TEST_F(OpsTest, PageFilesAreCachedByTheirText) {
  const HttpResponse page = Ask("GET", "/");
  EXPECT_EQ(page.content_type, "text/html; charset=utf-8");
  const std::map<std::string, std::string> headers(page.headers.begin(), page.headers.end());
  ASSERT_TRUE(headers.contains("ETag"));
  EXPECT_THAT(headers.at("Content-Security-Policy"),
              AllOf(HasSubstr("default-src 'none'"), Not(HasSubstr("unsafe"))));
  const HttpResponse known =
      Ask("GET", "/", {.headers = {{"if-none-match", "\"x\", " + headers.at("ETag")}}});
  EXPECT_EQ(known.status, 304);
  EXPECT_EQ(known.body, "");
  EXPECT_EQ(Ask("GET", "/", {.headers = {{"if-none-match", "\"0\""}}}).status, 200);
  // Whatever the page names is there, and nothing of it is inline.
  const std::regex name(R"re((src|href)="([^"]+)")re");
  std::set<std::string> named;
  for (std::sregex_iterator it(page.body.begin(), page.body.end(), name), end; it != end; ++it)
    named.insert((*it)[2]);
  EXPECT_GE(named.size(), 3u);
  for (const std::string& file : named) EXPECT_EQ(Ask("GET", "/" + file).status, 200) << file;
  EXPECT_THAT(page.body, AllOf(Not(HasSubstr("<style")), Not(HasSubstr("style=")),
                               Not(HasSubstr("<script>")), Not(HasSubstr("onclick"))));
}

TEST_F(OpsTest, TasksAreListedAndCancelled) {
  const auto tags = ParseRequestTags([](std::string_view name) -> std::optional<std::string> {
    if (name == "tandem-task") return "crawl/7";
    if (name == "tandem-agent") return "a";
    return std::nullopt;
  });
  ASSERT_TRUE(tags.ok());
  const auto pass = gate_.Enter({}, *tags);
  ASSERT_TRUE(pass.ok()) << pass.status();
  bool cancelled = false;
  (*pass)->OnCancel([&] { cancelled = true; });
  (*pass)->NoteUsage({.prompt_tokens = 9, .cached_tokens = 4, .completion_tokens = 2});

  const json tasks = json::parse(Ask("GET", "/api/tasks").body)["tasks"];
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0]["task"], "crawl/7");
  const json one = json::parse(Ask("GET", "/api/tasks/crawl/7").body);
  EXPECT_EQ(one["running"], 1);
  EXPECT_EQ(one["cached_tokens"], 4);
  EXPECT_EQ(one["budget"]["agents"], 300);
  EXPECT_EQ(Ask("GET", "/api/tasks/crawl").status, 404);

  for (const char* bad : {"[]", "{\"agent\": 1}", "{\"task\": \"x\"}", "{", "{\"agent\":\"a\"} x"})
    EXPECT_EQ(Ask("POST", "/api/task_cancel/crawl/7", {.body = bad}).status, 400) << bad;
  EXPECT_FALSE(cancelled);
  EXPECT_EQ(Ask("POST", "/api/task_cancel/nobody").status, 404);
  const HttpResponse done = Ask("POST", "/api/task_cancel/crawl/7", {.body = R"({"agent": "a"})"});
  EXPECT_EQ(done.status, 200) << done.body;
  EXPECT_EQ(json::parse(done.body)["cancelled_requests"], 1);
  EXPECT_TRUE(cancelled);
}

}  // namespace
}  // namespace tandem
