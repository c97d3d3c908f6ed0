// The HTTP server over real sockets: what works. Others have what is refused
// (http_limits_test.cpp), who is let in (http_access_test.cpp) and what clients may do to it
// (http_clients_test.cpp).
#include <thread>

#include "tests/service/http_fixture.h"

namespace tandem {
namespace {

TEST_F(HttpTest, AnswersARequest) {
  Start();
  const RawAnswer answer = Ask(JsonPost("/echo", R"({"a":1})"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"a":1})");
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(answer.headers.at("x-frame-options"), "DENY");
  EXPECT_TRUE(answer.headers.at("x-request-id").starts_with("req_"));
  EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
  const RequestLog log = logs_->Await(1).at(0);
  EXPECT_EQ(log.method, "POST /echo");
  EXPECT_EQ(log.status, 200);
  EXPECT_EQ(log.transport, "http");
  EXPECT_EQ(log.id, answer.headers.at("x-request-id"));
  EXPECT_GT(log.total_s, 0);
}

TEST_F(HttpTest, OneConnectionServesManyRequests) {
  Start();
  RawClient client(Address());
  for (int i = 0; i < 20; ++i) {
    client.Send(Fill(JsonPost("/echo", std::to_string(i))));
    EXPECT_EQ(client.Read().body, std::to_string(i));
  }
  std::string pipelined;
  for (int i = 0; i < 50; ++i) pipelined += Fill(JsonPost("/echo", std::to_string(i)));
  client.Send(pipelined);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.Read().body, std::to_string(i));
}

TEST_F(HttpTest, BodiesComeInChunksOrAnnounced) {
  Start();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n";
  EXPECT_EQ(
      Ask(head + "Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2,\r\n2;x=y\r\n3]\r\n0\r\nA: b\r\n\r\n")
          .body,
      "[1,2,3]");
  RawClient client(Address());
  client.Send(Fill(head + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"));
  std::this_thread::sleep_for(50ms);
  client.Send("{}");
  EXPECT_EQ(client.Read().body, "{}");
  EXPECT_EQ(client.continues(), 1);
}

}  // namespace
}  // namespace tandem
