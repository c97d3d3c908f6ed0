// The HTTP server over real sockets: what works. Others have what is refused
// (http_limits_test.cpp), who is let in (http_access_test.cpp) and what clients may do to it
// (http_clients_test.cpp).
#include <thread>

#include "absl/strings/str_cat.h"
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

TEST_F(HttpTest, AStarStandsForOnePartAnywhere) {
  AddRoute("GET", "/items/*/size",
           [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
             exchange->Send({.body = "size of " + request.path_tail});
           });
  Start();
  EXPECT_EQ(Ask("GET /items/a%2Fb/size HTTP/1.1\r\nHost: HOST\r\n\r\n").body, "size of a/b");
  EXPECT_EQ(Ask("GET /items/size HTTP/1.1\r\nHost: HOST\r\n\r\n").body, "size");
  for (const char* path : {"/items//size", "/items/a/b/size", "/items/a/size/", "/items/../size",
                           "/items/a/siz", "/items/%2e%2e/size"}) {
    const std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: HOST\r\n\r\n");
    EXPECT_EQ(Ask(request).status, 404) << path;
  }
}

TEST_F(HttpTest, ARouteMayTakeLargerBodiesOfAnotherType) {
  WorkQueue own(1);
  routes_.Add({.method = "POST",
               .path = "/upload",
               .handler =
                   [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
                     exchange->Send({.body = absl::StrCat(request.body.size())});
                   },
               .write_error = ToOpenAiError,
               .body_type = "multipart/form-data",
               .max_body_bytes = 3 << 20,
               .queue = &own});
  options_.max_all_uploads_bytes = 4 << 20;
  Start();
  const auto post = [&](const std::string& path, const std::string& type, size_t bytes) {
    return Ask(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: HOST\r\nContent-Type: ", type,
                            "\r\nContent-Length: ", bytes, "\r\n\r\n", std::string(bytes, 'x')));
  };
  EXPECT_EQ(post("/upload", "multipart/form-data; boundary=x", 3 << 20).body, "3145728");
  EXPECT_EQ(post("/upload", "multipart/form-data; boundary=x", (3 << 20) + 1).status, 413);
  EXPECT_EQ(post("/upload", "application/json", 10).status, 415);
  EXPECT_EQ(post("/echo", "multipart/form-data; boundary=x", 10).status, 415);
  EXPECT_EQ(post("/echo", "application/json", (1 << 20) + 1).status, 413);
  server_.reset();
}

class CountedPieces final : public BodyPieces {
 public:
  CountedPieces(int64_t bytes, int64_t there) : bytes_(bytes), there_(there) {}
  int64_t bytes() const override { return bytes_; }
  absl::StatusOr<std::string> Next() override {
    if (sent_ >= there_) return absl::DataLossError("the file ends too early");
    const int64_t n = std::min<int64_t>(100'000, there_ - sent_);
    sent_ += n;
    return std::string(n, static_cast<char>('a' + sent_ % 26));
  }

 private:
  const int64_t bytes_, there_;
  int64_t sent_ = 0;
};

TEST_F(HttpTest, LargeAnswersGoOutPieceByPiece) {
  AddRoute("GET", "/large/*", [](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
    const int64_t there = request.path_tail == "whole" ? 5'000'001 : 250'000;
    exchange->Send({.pieces = std::make_shared<CountedPieces>(
                        request.path_tail == "none" ? 0 : 5'000'001, there)});
  });
  Start();
  RawAnswer answer = Ask("GET /large/whole HTTP/1.1\r\nHost: HOST\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.size(), 5'000'001u);
  answer = Ask("GET /large/none HTTP/1.1\r\nHost: HOST\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
  answer = Ask("GET /large/broken HTTP/1.1\r\nHost: HOST\r\n\r\n");
  EXPECT_FALSE(answer.complete) << "the connection ends, nothing is made up";
}

}  // namespace
}  // namespace tandem
