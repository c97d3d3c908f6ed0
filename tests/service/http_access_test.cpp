// Who is let in, and by which name and spelling: keys, hosts, other sites' pages, other paths.
#include "tests/service/http_fixture.h"
#include "tests/service/two_keys.h"

namespace tandem {
namespace {

class HttpAccessTest : public HttpTest {
 protected:
  HttpAccessTest() {
    const auto answer = [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
      exchange->Send({.body = "{}", .headers = {{"X-Caller", request.caller.name}}});
    };
    AddRoute("GET", "/open", answer, Access::kOpen);
    AddRoute("GET", "/v1/secret", answer);
    AddRoute("POST", "/v1/chat", answer);
    AddRoute("GET", "/v1/secrets/*", answer);
    AddRoute("POST", "/admin", answer, Access::kAdmin);
  }
  void StartWithKeys() {
    keys_ = two_keys_.keys;
    Start();
  }
  static std::string Bearer(const std::string& key) {
    return "Authorization: Bearer " + key + "\r\n";
  }

  TwoKeys two_keys_;
  const std::string &user_ = two_keys_.user, &admin_ = two_keys_.admin;
};

TEST_F(HttpAccessTest, KeysComeInTwoHeaders) {
  StartWithKeys();
  EXPECT_EQ(Ask(Get("/v1/secret", Bearer(user_))).headers.at("x-caller"), "user");
  EXPECT_EQ(Ask(Get("/v1/secret", "authorization: bEARER  " + user_ + " \r\n")).status, 200);
  EXPECT_EQ(Ask(Get("/v1/secret", "X-Api-Key: " + admin_ + "\r\n")).headers.at("x-caller"),
            "admin");
  EXPECT_EQ(Ask(Get("/open")).status, 200);
  EXPECT_EQ(Ask(Get("/open", Bearer("wrong"))).headers.at("x-caller"), "");
}

TEST_F(HttpAccessTest, WhatIsNoKeyIsRefused) {
  StartWithKeys();
  std::string other_case = user_;
  for (char& c : other_case) c = static_cast<char>(c ^ (std::isalpha(c) != 0 ? 0x20 : 0));
  for (const std::string& header :
       {std::string(), Bearer(""), Bearer("x"), Bearer(user_ + "x"),
        Bearer(user_.substr(0, user_.size() - 1)), Bearer(other_case),
        Bearer(std::string(8000, 'k')), "Authorization: Basic " + user_ + "\r\n",
        "Authorization: " + user_ + "\r\n", "X-Api-Key: Bearer " + user_ + "\r\n",
        "Cookie: key=" + user_ + "\r\n", std::string("X-Forwarded-User: admin\r\n"),
        "Authorization: Bearer x\r\nX-Api-Key: " + user_ + "\r\n"}) {
    const RawAnswer answer = Ask(Get("/v1/secret", header));
    EXPECT_EQ(answer.status, 401) << header;
    EXPECT_EQ(answer.headers.at("www-authenticate"), "Bearer");
    EXPECT_THAT(answer.body, AllOf(HasSubstr("invalid_api_key"), Not(HasSubstr(user_))));
  }
  EXPECT_EQ(Ask(Get("/v1/secret?key=" + user_)).status, 401);
  // Two of them could mean another caller to a proxy than to this server.
  EXPECT_EQ(Ask(Get("/v1/secret", Bearer("x") + Bearer(user_))).status, 400);
}

TEST_F(HttpAccessTest, AdminRoutesWantAnAdminsKey) {
  StartWithKeys();
  EXPECT_EQ(Ask(JsonPost("/admin", "{}")).status, 401);
  EXPECT_EQ(Ask(JsonPost("/admin", "{}", Bearer(user_))).status, 403);
  EXPECT_EQ(Ask(JsonPost("/admin", "{}", Bearer(admin_))).status, 200);
}

// A body that nobody may send is not waited for.
TEST_F(HttpAccessTest, TheKeyIsAskedForBeforeTheBody) {
  StartWithKeys();
  RawClient client(Address());
  client.Send(
      Fill("POST /v1/chat HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
           "Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n"));
  const RawAnswer answer = client.Read();
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(client.continues(), 0);
}

// Nothing is normalised, so a path has one spelling, and all others are nowhere, with or without a
// key.
TEST_F(HttpAccessTest, OtherSpellingsOfAPathAreNowhere) {
  StartWithKeys();
  for (const char* path : {"/v1/secret/",
                           "/v1//secret",
                           "//v1/secret",
                           "/V1/secret",
                           "/v1/SECRET",
                           "/v1/./secret",
                           "/v1/x/../secret",
                           "/open/../v1/secret",
                           "/open/..;/v1/secret",
                           "/open;/v1/secret",
                           "/v1/secret;x=y",
                           "/v1/secret%00",
                           "/v1/secret%2f",
                           "/v1%2fsecret",
                           "/%76%31/secret",
                           "/v1/%73ecret",
                           "/%2e%2e/v1/secret",
                           "/open%2f..%2fv1%2fsecret",
                           "/v1/secret%20",
                           "/v1/secret.",
                           "/v1/secret.json",
                           "/v1\\secret",
                           "/..\\v1\\secret",
                           "/../../etc/passwd",
                           "/%2e%2e/%2e%2e/etc/passwd",
                           "/v1/secrets/",
                           "/v1/secrets/..",
                           "/v1/secrets/%2e%2e",
                           "/v1/secrets/../secret",
                           "/v1/secrets/a/b",
                           "/v1/secrets/a%00b",
                           "/v1/secrets/%0d%0a"}) {
    EXPECT_EQ(Ask(Get(path)).status, 404) << path;
    EXPECT_EQ(Ask(Get(path, Bearer(admin_))).status, 404) << path;
  }
  for (const char* target : {"http://HOST/v1/secret", "v1/secret", "*", "/v1/secret#x", "HOST",
                             "/v1/secret?a=%", "/v1/secret?a=%zz", "/v1/secret?a=1&a=2"}) {
    EXPECT_EQ(Ask(Get(target)).status, 400) << target;
  }
  EXPECT_EQ(Ask(Get("/v1/secret?" + std::string(5000, 'x'))).status, 414);
  EXPECT_EQ(Ask(Get("/v1/secrets/%2e%2e%2fsecret")).status, 401) << "a name with a slash in it";
}

TEST_F(HttpAccessTest, OtherMethodsAreNoWayIn) {
  StartWithKeys();
  for (const char* method : {"HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE",
                             "get", "Get", "G", "PROPFIND"}) {
    RawClient client(Address());
    client.Send(Fill(std::string(method) + " /v1/secret HTTP/1.1\r\nHost: HOST\r\n\r\n"));
    const std::string head = client.ReadUntil("\r\n\r\n");
    EXPECT_THAT(head, testing::StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(head, HasSubstr("Allow: GET\r\n")) << method;
    EXPECT_THAT(head, Not(HasSubstr("Access-Control"))) << method;
  }
  EXPECT_EQ(
      Ask("GET /v1/secret HTTP/1.1\r\nHost: HOST\r\nX-HTTP-Method-Override: POST\r\n\r\n").status,
      401);
  EXPECT_NE(Ask("CONNECT /v1/secret HTTP/1.1\r\nHost: HOST\r\n\r\n").status, 200);
  EXPECT_EQ(Ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status, 505);
}

TEST_F(HttpAccessTest, OtherHostsNamesAreRefused) {
  options_.allowed_hosts = {"tandem.lan", "proxy.lan:443"};
  Start();
  const std::string port = Address().substr(Address().rfind(':'));
  const auto status = [&](const std::string& host) {
    return Ask("GET /plain HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  for (const std::string& host :
       {"127.0.0.1" + port, "localhost" + port, "LocalHost" + port, "[::1]" + port,
        std::string("tandem.lan"), std::string("Tandem.lan:9999"), std::string("proxy.lan:443")}) {
    EXPECT_EQ(status(host), 200) << host;
  }
  for (const std::string& host :
       {std::string("evil.example"), "evil.example" + port, "127.0.0.1.evil.example" + port,
        std::string("localhost"), std::string("127.0.0.1:1"), "127.0.0.2" + port,
        "localhost." + port, "evil.example@127.0.0.1" + port, "127.0.0.1" + port + ".evil.example",
        "2130706433" + port, "0x7f.1" + port, "0.0.0.0" + port, "[::ffff:127.0.0.1]" + port,
        std::string("proxy.lan"), std::string("x.tandem.lan"), std::string("tandem.lan.evil")}) {
    EXPECT_EQ(status(host), 403) << host;
  }
  EXPECT_EQ(Ask("GET /plain HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(status(""), 400);
  EXPECT_EQ(Ask("GET /plain HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n").status, 400);
  EXPECT_EQ(
      Ask("GET /plain HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: HOST\r\n\r\n").status,
      403);
}

TEST_F(HttpAccessTest, PagesOfOtherSitesAreRefused) {
  Start();
  for (const char* header : {"Origin: http://evil.example\r\n", "Origin: null\r\n", "Origin: \r\n",
                             "Origin: HOST\r\n", "Origin: http://HOST.evil.example\r\n",
                             "Origin: file://\r\n", "Origin: http://evil.example@HOST\r\n",
                             "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n",
                             "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"}) {
    EXPECT_EQ(Ask(Get("/plain", header)).status, 403) << header;
    const RawAnswer answer = Ask(JsonPost("/echo", "{}", header));
    EXPECT_EQ(answer.status, 403) << header;
    for (const auto& [name, value] : answer.headers)
      EXPECT_FALSE(name.starts_with("access-control-")) << name << ": " << value;
  }
  EXPECT_EQ(Ask(JsonPost("/echo", "{}", "Origin: http://HOST\r\n")).status, 200);
  EXPECT_EQ(Ask(JsonPost("/echo", "{}", "Sec-Fetch-Site: same-origin\r\n")).status, 200);
  const char* link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
  EXPECT_EQ(Ask(Get("/plain", link)).status, 200) << "a link may lead here";
  EXPECT_EQ(Ask(JsonPost("/echo", "{}", link)).status, 403) << "a form may not";
  const RawAnswer preflight =
      Ask("OPTIONS /echo HTTP/1.1\r\nHost: HOST\r\nOrigin: http://evil.example\r\n"
          "Access-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(preflight.status, 403);
  EXPECT_FALSE(preflight.headers.contains("access-control-allow-origin"));
}

// What a page may send without asking first (forms, beacons) is no JSON.
TEST_F(HttpAccessTest, BodiesAreJsonAndSayIt) {
  Start();
  const auto status = [&](const std::string& headers) {
    return Ask("POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\n" + headers + "\r\n{}")
        .status;
  };
  EXPECT_EQ(status("Content-Type: application/json\r\n"), 200);
  EXPECT_EQ(status("Content-Type: APPLICATION/JSON ; charset=utf-8\r\n"), 200);
  for (const char* headers :
       {"", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n", "Content-Type: text/json\r\n",
        "Content-Type: application/jsonx\r\n", "Content-Type: ;application/json\r\n",
        "Content-Type: text/plain, application/json\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/json\r\nContent-Encoding: identity, gzip\r\n"}) {
    EXPECT_EQ(status(headers), 415) << headers;
  }
  EXPECT_EQ(status("Content-Type: application/json\r\nContent-Type: text/plain\r\n"), 400);
}

TEST_F(HttpAccessTest, RequestIdsAreTakenOnlyWhenPlain) {
  Start();
  EXPECT_EQ(Ask(Get("/plain", "X-Request-Id: a-1_b.c\r\n")).headers.at("x-request-id"), "a-1_b.c");
  for (const std::string& id : {std::string("a b"), std::string("<script>"), std::string(65, 'a'),
                                std::string("../x"), std::string("\xc3\xa4"), std::string()}) {
    const RawAnswer answer = Ask(Get("/plain", "X-Request-Id: " + id + "\r\n"));
    EXPECT_EQ(answer.status, 200) << id;
    EXPECT_TRUE(answer.headers.at("x-request-id").starts_with("req_")) << id;
  }
}

}  // namespace
}  // namespace tandem
