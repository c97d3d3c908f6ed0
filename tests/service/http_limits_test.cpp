// Requests that are too large, or that two readers could understand in two ways.
#include <thread>

#include "tests/service/http_fixture.h"

namespace tandem {
namespace {

const char kJsonHead[] = "POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n";

class HttpLimitsTest : public HttpTest {
 protected:
  HttpLimitsTest() {
    options_.times.head = options_.times.body = 10s;  // what is tested here is not the time
  }
  // The status that `bytes` get; and that the connection ends then, so that nothing of them can be
  // taken for another request.
  int Refusal(const std::string& bytes) {
    RawClient client(Address());
    client.Send(Fill(bytes));
    const RawAnswer answer = client.Read();
    EXPECT_TRUE(answer.complete);
    EXPECT_THAT(answer.body, HasSubstr("\"error\""));
    EXPECT_EQ(answer.headers.contains("connection") ? answer.headers.at("connection") : "",
              "close");
    client.EndSending();
    EXPECT_TRUE(client.ReadsEnd(5s));
    return answer.status;
  }
  int ChunkedRefusal(const std::string& chunks) {
    return Refusal(kJsonHead + std::string("Transfer-Encoding: chunked\r\n\r\n") + chunks);
  }
  void ExpectStillServes() { EXPECT_EQ(Ask(JsonPost("/echo", "{}")).status, 200); }
};

TEST_F(HttpLimitsTest, LongHeads) {
  Start();
  EXPECT_EQ(Refusal(Get("/plain", "X: " + std::string(17 << 10, 'x') + "\r\n")), 431);
  EXPECT_EQ(Refusal(Get("/" + std::string(17 << 10, 'x'))), 431);
  EXPECT_EQ(Refusal(std::string(20 << 10, 'G')), 431) << "no line at all";
  std::string many;
  for (int i = 0; i < 101; ++i) many += "X" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(Refusal(Get("/plain", many)), 431);
  std::string most;
  for (int i = 0; i < 99; ++i) most += "X: y\r\n";  // with Host: 100
  EXPECT_EQ(Ask(Get("/plain", most)).status, 200);
  ExpectStillServes();
}

// However much more of a head comes: it is neither kept nor read for long.
TEST_F(HttpLimitsTest, HeadsWithoutEnd) {
  Start();
  for (const std::string& line : {std::string("X: y\r\n"), std::string(1024, 'x')}) {
    std::string block;
    while (block.size() < (1 << 20)) block += line;
    RawClient client(Address());
    client.Send(Fill("GET /plain HTTP/1.1\r\nHost: HOST\r\n"));
    int sent_mib = 0;
    while (sent_mib < 200 && client.Send(block)) ++sent_mib;
    EXPECT_LT(sent_mib, 100) << "the connection ends";
  }
  ExpectStillServes();
}

TEST_F(HttpLimitsTest, ChunkSizesThatAreNone) {
  Start();
  for (const char* chunks :
       {"-1\r\nx\r\n0\r\n\r\n", "-0\r\n\r\n\r\n0\r\n\r\n", "ffffffffffffffff\r\nx\r\n0\r\n\r\n",
        "10000000000000000\r\nx\r\n0\r\n\r\n", "7fffffffffffffff\r\nx\r\n0\r\n\r\n",
        "8000000000000000\r\nx\r\n0\r\n\r\n", "0x2\r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n", "2 2\r\n{}\r\n0\r\n\r\n", "\r\n{}\r\n0\r\n\r\n",
        "g\r\n{}\r\n0\r\n\r\n", "2\n{}\n0\n\n\r\n", "2\r\n{}0\r\n\r\n\r\n", "2\r\n{}}\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n", "2;\r\n{}\r\n0\r\nbroken trailer\r\n\r\n"}) {
    const int status = ChunkedRefusal(chunks);
    EXPECT_TRUE(status == 400 || status == 413) << status << " for " << chunks;
  }
  EXPECT_EQ(ChunkedRefusal("2;" + std::string(30 << 10, 'x')), 400) << "a chunk's head";
  EXPECT_EQ(ChunkedRefusal("2\r\n{}\r\n0\r\nX: " + std::string(30 << 10, 'x')), 400) << "a trailer";
  ExpectStillServes();
}

TEST_F(HttpLimitsTest, ManyTinyChunks) {
  Start();
  std::string chunks, text;
  for (int i = 0; i < 1'000'000; ++i) chunks += "1\r\n1\r\n";
  text.assign(1'000'000, '1');
  const RawAnswer answer =
      Ask(kJsonHead + std::string("Transfer-Encoding: chunked\r\n\r\n") + chunks + "0\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.body == text);
  for (int i = 0; i < 100'000; ++i) chunks += "1\r\n1\r\n";
  EXPECT_EQ(ChunkedRefusal(chunks + "0\r\n\r\n"), 413);
  ExpectStillServes();
}

TEST_F(HttpLimitsTest, BodiesUpToTheLimit) {
  Start();
  const std::string most(1 << 20, '1');
  EXPECT_TRUE(Ask(JsonPost("/echo", most)).body == most);
  EXPECT_EQ(Refusal(JsonPost("/echo", most + "1")), 413);
  const std::string chunk = "80000\r\n" + std::string(0x80000, '1') + "\r\n";
  const std::string chunked = kJsonHead + std::string("Transfer-Encoding: chunked\r\n\r\n");
  EXPECT_TRUE(Ask(chunked + chunk + chunk + "0\r\n\r\n").body == most);
  EXPECT_EQ(ChunkedRefusal(chunk + chunk + "1\r\n1\r\n0\r\n\r\n"), 413);
  // An announced length is refused before a byte of the body is sent.
  EXPECT_EQ(Refusal(kJsonHead + std::string("Content-Length: 1048577\r\n\r\n")), 413);
  EXPECT_EQ(Refusal(kJsonHead + std::string("Content-Length: 9223372036854775807\r\n\r\n")), 413);
  ExpectStillServes();
}

TEST_F(HttpLimitsTest, AllBodiesTogetherAreBounded) {
  options_.max_all_bodies_bytes = 3 << 20;
  Start();
  const std::string half = JsonPost("/echo", std::string(1 << 20, '1'));
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawClient>(Address()));
    clients.back()->Send(Fill(half.substr(0, half.size() - 1)));
  }
  std::this_thread::sleep_for(200ms);  // they have been announced
  EXPECT_EQ(Ask(JsonPost("/echo", "{}")).status, 503);
  EXPECT_EQ(Ask(Get("/plain")).status, 200);
  for (const auto& client : clients) {
    client->Send("1");
    EXPECT_EQ(client->Read().status, 200);
  }
  ExpectStillServes();
}

// What a proxy in front could take for one request more, or one less.
TEST_F(HttpLimitsTest, TwoWaysToReadARequest) {
  Start();
  const std::string head = kJsonHead, smuggled = "2\r\n{}\r\n0\r\n\r\nGET /plain HTTP/1.1\r\n\r\n";
  for (const std::string& headers :
       {std::string("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
        std::string("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"),
        std::string("Content-Length: 2\r\nContent-Length: 2\r\n"),
        std::string("Content-Length: 2\r\nContent-Length: 30\r\n"),
        std::string("Content-Length: 2, 2\r\n"),
        std::string("Content-Length: +2\r\n"),
        std::string("Content-Length: -2\r\n"),
        std::string("Content-Length: 0x2\r\n"),
        std::string("Content-Length: 2 2\r\n"),
        std::string("Content-Length: 2.0\r\n"),
        std::string("Content-Length: \r\n"),
        std::string("Content-Length: 18446744073709551616\r\n"),
        std::string("Content-Length : 2\r\n"),
        std::string("Content-Length: 2\nX: y\r\n"),
        std::string("Transfer-Encoding: identity\r\n"),
        std::string("Transfer-Encoding: gzip, chunked\r\n"),
        std::string("Transfer-Encoding: chunked, chunked\r\n"),
        std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        std::string("Transfer-Encoding: \"chunked\"\r\n"),
        std::string("Transfer-Encoding: chunked;q=1\r\n"),
        std::string("Transfer-Encoding:\x0b"
                    "chunked\r\n"),
        std::string("Transfer-Encoding : chunked\r\n"),
        std::string("Transfer-Encoding: chunked\r\n X: folded\r\n"),
        std::string("X: a\r\n\tfolded\r\n"),
        std::string("\r: x\r\n"),
        std::string("no colon\r\n"),
        std::string(": no name\r\n"),
        std::string("X: a\0b\r\n", 8),
        std::string("X\xff: a\r\n")}) {
    EXPECT_EQ(Refusal(head + headers + "\r\n" + smuggled), 400) << headers;
  }
  for (const std::string& start :
       {std::string("GET /plain\r\n\r\n"), std::string("GET  /plain HTTP/1.1\r\n\r\n"),
        std::string("GET /plain HTTP/1.1 \r\n\r\n"), std::string("GET /pl ain HTTP/1.1\r\n\r\n"),
        std::string("GET\t/plain HTTP/1.1\r\n\r\n"), std::string(" GET /plain HTTP/1.1\r\n\r\n"),
        std::string("G\0T /plain HTTP/1.1\r\n\r\n", 24), std::string("\x16\x03\x01\r\n\r\n"),
        std::string("(GET /plain HTTP/1.1\r\n\r\n")}) {
    EXPECT_THAT(Refusal(start), testing::AnyOf(400, 505)) << start;
  }
  for (const char* version : {"HTTP/9.9", "HTTP/2.0", "HTTP/0.9"})
    EXPECT_EQ(Refusal(std::string("GET /plain ") + version + "\r\nHost: HOST\r\n\r\n"), 505);
  for (const char* version : {"HTTP/1,1", "http/1.1", "HTTP/", "HTTP/11"})
    EXPECT_THAT(Refusal(std::string("GET /plain ") + version + "\r\nHost: HOST\r\n\r\n"),
                testing::AnyOf(400, 505));
  ExpectStillServes();
}

TEST_F(HttpLimitsTest, WhatFollowsARequestIsTheNextOne) {
  Start();
  RawClient client(Address());
  client.Send(Fill(JsonPost("/echo", "{}") + Get("/plain") + JsonPost("/echo", "[]") +
                   "GARBAGE\r\n\r\n" + Get("/plain")));
  EXPECT_EQ(client.Read().body, "{}");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(client.Read().body, "[]");
  EXPECT_EQ(client.Read().status, 400);
  EXPECT_TRUE(client.ReadsEnd(5s)) << "nothing is read behind garbage";
}

TEST_F(HttpLimitsTest, ACompressedBodyIsNotUnpacked) {
  Start();
  const std::string bomb = "\x1f\x8b\x08" + std::string(1000, '\0');
  EXPECT_EQ(Refusal(JsonPost("/echo", bomb, "Content-Encoding: gzip\r\n")), 415);
  EXPECT_EQ(Refusal(JsonPost("/echo", bomb, "Content-Encoding: zstd\r\n")), 415);
  EXPECT_EQ(Refusal(JsonPost("/echo", "{}", "Expect: something\r\n")), 417);
}

TEST_F(HttpLimitsTest, ErrorsHoldNeitherPathsNorAddresses) {
  Start();
  for (const char* path : {"/throw", "/drop"}) {
    const RawAnswer answer = Ask(JsonPost(path, "{}"));
    EXPECT_EQ(answer.status, 500) << path;
    EXPECT_THAT(answer.body, HasSubstr("its log says why"));
    EXPECT_THAT(answer.body, Not(HasSubstr("secret")));
    EXPECT_THAT(answer.body, Not(HasSubstr("0x")));
  }
  const RawAnswer nowhere = Ask(Get("/<script>alert(1)</script>%0d%0aSet-Cookie:x"));
  EXPECT_EQ(nowhere.status, 404);
  EXPECT_THAT(nowhere.body, Not(HasSubstr("script"))) << "nothing is said back";
}

}  // namespace
}  // namespace tandem
