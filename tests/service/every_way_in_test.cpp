// Every route and every RPC, as the server itself enumerates them: without a key, with a wrong one
// and, where an admin's is wanted, with a user's. The open ones are listed here, and only here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "service/server.h"
#include "tests/service/fake_engine.h"
#include "tests/service/internal_words.h"
#include "tests/service/raw_call.h"
#include "tests/service/raw_client.h"
#include "tests/service/two_keys.h"

namespace tandem {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::Not;

// docs/security.md: whether the server is up, and the page's files.
const std::set<std::string> kOpenRoutes = {
    "GET /",        "GET /charts.js", "GET /chat.js",  "GET /connection.js", "GET /drawing.js",
    "GET /health",  "GET /heat.js",   "GET /icon.svg", "GET /live.js",       "GET /message.js",
    "GET /page.js", "GET /sse.js",    "GET /style.css"};
// What reflection does not describe: gRPC's own health service. None is open.
const char* const kHealthMethods[] = {"/grpc.health.v1.Health/Check",
                                      "/grpc.health.v1.Health/Watch"};

class EveryWayIn : public testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start(engine_, {.address = "127.0.0.1:0",
                                          .http_address = "127.0.0.1:0",
                                          .keys = two_keys_.keys,
                                          .model_name = "m"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  }
  static std::string PathOf(const Route& route) {
    std::string path = route.path;
    if (path.ends_with("*")) path.replace(path.size() - 1, 1, "x");
    return path;
  }
  RawAnswer Ask(const std::string& method, const std::string& path, const std::string& headers) {
    RawClient client(server_->http_address());
    const std::string body = method == "POST" ? "{}" : "";
    client.Send(method + " " + path + " HTTP/1.1\r\nHost: " + server_->http_address() + "\r\n" +
                headers + "Content-Type: application/json\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n\r\n" + body);
    if (method == "HEAD") return {.status = std::atoi(client.ReadUntil("\r\n\r\n").c_str() + 9)};
    return client.Read();
  }
  static std::string Bearer(const std::string& key) {
    return "Authorization: Bearer " + key + "\r\n";
  }
  std::vector<std::string> Methods() {
    auto methods = ReflectedMethods(channel_, two_keys_.admin);
    methods.insert(methods.end(), std::begin(kHealthMethods), std::end(kHealthMethods));
    return methods;
  }

  TwoKeys two_keys_;
  FakeEngine engine_{{.answer = [](const std::string&) { return "x"; }}};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(EveryWayIn, RoutesWantAKeyButForTheOpenOnes) {
  std::set<std::string> open;
  ASSERT_GT(server_->routes().routes().size(), kOpenRoutes.size() + 5);
  for (const Route& route : server_->routes().routes()) {
    const std::string name = route.method + " " + route.path, path = PathOf(route);
    if (route.access == Access::kOpen) {
      open.insert(name);
      EXPECT_EQ(Ask(route.method, path, "").status, 200) << name;
      continue;
    }
    for (const std::string& headers :
         {std::string(), Bearer("tdm-wrong"), Bearer(""), Bearer(two_keys_.user + "x"),
          "X-Api-Key: " + two_keys_.user + " \t.\r\n"}) {
      const RawAnswer answer = Ask(route.method, path, headers);
      EXPECT_EQ(answer.status, 401) << name << " with " << headers;
      EXPECT_EQ(InternalWordIn(answer.body), "") << answer.body;
      EXPECT_THAT(answer.body, Not(HasSubstr(two_keys_.user)));
    }
    const int by_user = Ask(route.method, path, Bearer(two_keys_.user)).status;
    if (route.access == Access::kAdmin) {
      EXPECT_EQ(by_user, 403) << name;
      EXPECT_NE(Ask(route.method, path, Bearer(two_keys_.admin)).status, 403) << name;
    } else {
      // Let in: whatever is wrong with the request then is not the key.
      EXPECT_THAT(by_user, testing::AnyOf(200, 400, 404, 415, 501)) << name;
    }
  }
  EXPECT_THAT(open, ElementsAreArray(kOpenRoutes));
}

TEST_F(EveryWayIn, NoOtherSpellingOrMethodOfARouteIsOpen) {
  for (const Route& route : server_->routes().routes()) {
    if (route.access == Access::kOpen) continue;
    const std::string path = PathOf(route);
    std::string upper = path;
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    for (const std::string& other :
         {path + "/", "/" + path, upper, path + "%20", path + ";", path + ";x=/health",
          "/health/.." + path, "/health/..;" + path, "/style.css/.." + path, "/%2e" + path,
          "/" + path.substr(1, 1) + "%2f" + path.substr(2), path + "%2f", "http://x" + path}) {
      const int status = Ask(route.method, other, "").status;
      EXPECT_TRUE(status == 400 || status == 401 || status == 404 || status == 405)
          << other << ": " << status;
    }
    for (const char* method : {"HEAD", "OPTIONS", "PUT", "PATCH", "TRACE"}) {
      const int status = Ask(method, path, "").status;
      EXPECT_TRUE(status == 401 || status == 405) << method << " " << path << ": " << status;
    }
  }
}

TEST_F(EveryWayIn, RpcsWantAKey) {
  const auto methods = Methods();
  EXPECT_THAT(methods, testing::IsSupersetOf(
                           {"/tandem.v1.Inference/Chat", "/tandem.v1.Placement/StartRecording",
                            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}));
  EXPECT_GE(methods.size(), 11u);
  for (const std::string& method : methods) {
    for (const std::string& key : {std::string(), std::string("tdm-wrong"), two_keys_.user + "x"}) {
      const RawReply reply = RawCall(channel_, method, key);
      EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
      EXPECT_TRUE(reply.messages.empty()) << method;
      EXPECT_EQ(InternalWordIn(reply.status.error_message()), "") << reply.status.error_message();
    }
    const auto by_user = RawCall(channel_, method, two_keys_.user).status.error_code();
    const bool for_admins = method.starts_with("/tandem.v1.Placement/");
    EXPECT_EQ(by_user == grpc::StatusCode::PERMISSION_DENIED, for_admins) << method << by_user;
    EXPECT_NE(by_user, grpc::StatusCode::UNAUTHENTICATED) << method;
    const auto by_admin = RawCall(channel_, method, two_keys_.admin).status.error_code();
    EXPECT_NE(by_admin, grpc::StatusCode::PERMISSION_DENIED) << method;
    EXPECT_NE(by_admin, grpc::StatusCode::UNAUTHENTICATED) << method;
  }
}

TEST_F(EveryWayIn, NoOtherSpellingOfAnRpcReachesIt) {
  for (const char* method :
       {"//tandem.v1.Placement/GetRecording", "/tandem.v1.placement/GetRecording",
        "/tandem.v1.Placement/GetRecording/", "/tandem.v1.Placement//GetRecording",
        "/tandem.v1.Placement/getRecording", "/tandem.v1.Placement%2fGetRecording",
        "/tandem.v1.Inference/../tandem.v1.Placement/GetRecording", "tandem.v1.Placement",
        "/grpc.channelz.v1.Channelz/GetServers", "/tandem.v1.Inference/Nothing", "/", ""}) {
    EXPECT_NE(RawCall(channel_, method, "").status.error_code(), grpc::StatusCode::OK) << method;
    const RawReply reply = RawCall(channel_, method, two_keys_.user);
    EXPECT_FALSE(reply.status.ok()) << method;
    EXPECT_TRUE(reply.messages.empty()) << method;
  }
}

TEST_F(EveryWayIn, NeitherPortSpeaksTheOthersLanguage) {
  const RawAnswer web =
      Ask("POST", "/tandem.v1.Inference/Chat", Bearer(two_keys_.admin) + "X-Grpc-Web: 1\r\n");
  EXPECT_EQ(web.status, 404);
  RawClient client(server_->address());
  client.Send("POST /tandem.v1.Inference/GetModelInfo HTTP/1.1\r\nHost: x\r\n" +
              Bearer(two_keys_.admin) + "\r\n");
  EXPECT_THAT(client.ReadUntil("\n"), Not(HasSubstr(" 200")));
}

TEST_F(EveryWayIn, CachesAreOfOneKeyByEveryApi) {
  const auto salt_of = [&](const std::string& key) {
    RawClient client(server_->http_address());
    const std::string body =
        R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]})";
    client.Send("POST /v1/messages HTTP/1.1\r\nHost: " + server_->http_address() + "\r\n" +
                Bearer(key) + "Content-Type: application/json\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n\r\n" + body);
    EXPECT_EQ(client.Read().status, 200);
    return engine_.last_request().cache_salt;
  };
  const auto salt_of_rpc = [&](const std::string& key) {
    const RawReply reply = RawCall(channel_, "/tandem.v1.Inference/Generate", key, "\x0a\x02hi");
    EXPECT_EQ(reply.messages.size(), 1u) << reply.status.error_message();
    return engine_.last_request().cache_salt;
  };
  EXPECT_NE(salt_of(two_keys_.user), salt_of(two_keys_.admin));
  EXPECT_EQ(salt_of(two_keys_.user), salt_of(two_keys_.user));
  EXPECT_NE(salt_of_rpc(two_keys_.user), salt_of_rpc(two_keys_.admin));
  EXPECT_EQ(salt_of_rpc(two_keys_.user), salt_of(two_keys_.user));
}

}  // namespace
}  // namespace tandem
