// Clients that are slow, many, silent or gone: each costs the others nothing.
#include <sys/socket.h>

#include <thread>

#include "tests/service/http_fixture.h"

namespace tandem {
namespace {

class HttpClientsTest : public HttpTest {
 protected:
  HttpClientsTest() {
    AddRoute("POST", "/stream", [this](const HttpRequest&, std::shared_ptr<Exchange> exchange) {
      exchange->OnGone([this] { gone_.Set(); });
      exchange->BeginEvents([] { return std::string("place 3"); });
      held_ = std::move(exchange);
      holding_.Set();
    });
  }
  // Begins a stream, which the test then feeds through held_.
  void BeginStream(RawClient& client) {
    client.Send(Fill(JsonPost("/stream", "{}")));
    ASSERT_TRUE(holding_.Await());
    ASSERT_NE(client.ReadUntil("\r\n\r\n"), "");
  }
  void ExpectStillServes() { EXPECT_EQ(Ask(JsonPost("/echo", "{}")).status, 200); }
  bool ConnectionsSettleAt(int32_t count) {
    for (int i = 0; i < 500 && server_->connections() != count; ++i)
      std::this_thread::sleep_for(10ms);
    return server_->connections() == count;
  }
};

TEST_F(HttpClientsTest, AHeadHasItsTime) {
  Start();
  RawClient client(Address());
  const std::string request = Fill(Get("/plain"));
  const auto begin = std::chrono::steady_clock::now();
  bool open = true;
  for (size_t i = 0; open && i < request.size() - 1; ++i) {  // a byte at a time, never silent
    open = client.Send(request.substr(i, 1));
    std::this_thread::sleep_for(20ms);
    if (std::chrono::steady_clock::now() - begin > 400ms) break;
  }
  EXPECT_EQ(client.Read().status, 408);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
  EXPECT_TRUE(client.ReadsEnd(5s));
}

TEST_F(HttpClientsTest, ABodyHasItsTime) {
  Start();
  for (const char* length : {"Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"}) {
    RawClient client(Address());
    client.Send(Fill("POST /echo HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n" +
                     std::string(length) + "\r\n"));
    for (int i = 0; i < 60 && client.Send("1"); ++i) std::this_thread::sleep_for(10ms);
    const RawAnswer answer = client.Read();
    EXPECT_TRUE(answer.status == 408 || answer.status == 400) << length << answer.status;
    EXPECT_TRUE(client.ReadsEnd(5s));
  }
  ExpectStillServes();
}

TEST_F(HttpClientsTest, SilentOnesAreLetGo) {
  options_.times.idle = 200ms;
  Start();
  RawClient nothing(Address()), after_one(Address());
  after_one.Send(Fill(Get("/plain")));
  EXPECT_EQ(after_one.Read().status, 200);
  EXPECT_TRUE(nothing.ReadsEnd(5s));
  EXPECT_TRUE(after_one.ReadsEnd(5s));
  EXPECT_TRUE(ConnectionsSettleAt(0));
}

TEST_F(HttpClientsTest, ManyIdleConnections) {
  options_.times.idle = 60s;
  options_.max_connections = 300;
  Start();
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 299; ++i) idle.push_back(std::make_unique<RawClient>(Address()));
  ASSERT_TRUE(ConnectionsSettleAt(299));
  ExpectStillServes();
  ASSERT_TRUE(ConnectionsSettleAt(299));
  idle.push_back(std::make_unique<RawClient>(Address()));
  ASSERT_TRUE(ConnectionsSettleAt(300));
  const RawAnswer crowded = Ask(Get("/plain"));
  EXPECT_EQ(crowded.status, 503);
  EXPECT_EQ(crowded.headers.at("retry-after"), "5");
  // Beyond those that are told so, connections are closed at once.
  std::vector<std::unique_ptr<RawClient>> more;
  for (int i = 0; i < 200; ++i) more.push_back(std::make_unique<RawClient>(Address()));
  std::this_thread::sleep_for(100ms);
  EXPECT_LE(server_->connections(), 364);
  EXPECT_TRUE(more.back()->ReadsEnd(5s));
  more.clear();
  idle.clear();
  EXPECT_TRUE(ConnectionsSettleAt(0));
  ExpectStillServes();
}

TEST_F(HttpClientsTest, AClientThatLeavesIsNoticed) {
  Start();
  for (const bool half : {true, false}) {
    gone_.Reset();
    holding_.Reset();
    RawClient client(Address());
    client.Send(Fill(JsonPost("/hold", "{}")));
    ASSERT_TRUE(holding_.Await());
    half ? client.EndSending() : client.Close();
    EXPECT_TRUE(gone_.Await()) << half;
    held_.reset();
  }
  EXPECT_EQ(logs_->Await(2).at(0).status, 499);
  ExpectStillServes();
}

TEST_F(HttpClientsTest, AStreamEndsWithItsClient) {
  Start();
  for (const bool half : {true, false}) {
    gone_.Reset();
    holding_.Reset();
    RawClient client(Address());
    BeginStream(client);
    EXPECT_TRUE(held_->SendEvent("data: 1\n\n"));
    EXPECT_NE(client.ReadUntil("data: 1"), "");
    half ? client.EndSending() : client.Close();
    EXPECT_TRUE(gone_.Await()) << half;
    EXPECT_FALSE(held_->SendEvent("data: 2\n\n"));
    held_.reset();
  }
  ExpectStillServes();
}

TEST_F(HttpClientsTest, ASilentStreamSaysThatItLives) {
  Start();
  RawClient client(Address());
  BeginStream(client);
  EXPECT_NE(client.ReadUntil(": place 3"), "");
  EXPECT_NE(client.ReadUntil(": place 3"), "");
  held_->EndEvents();
  EXPECT_NE(client.ReadUntil("0\r\n\r\n"), "");
  held_.reset();
}

TEST_F(HttpClientsTest, OneThatDoesNotReadIsCutOffAndTheOthersGoOn) {
  options_.max_unread_bytes = 64 << 10;
  Start();
  RawClient client(Address());
  const int small = 4096;
  setsockopt(client.socket(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  BeginStream(client);
  const std::string frame = "data: " + std::string(16 << 10, 'x') + "\n\n";
  int64_t sent_bytes = 0;
  while (held_->SendEvent(frame) && sent_bytes < (256 << 20))
    sent_bytes += static_cast<int64_t>(frame.size());
  EXPECT_LT(sent_bytes, 64 << 20) << "the buffer, and what the kernel takes";
  ExpectStillServes();
  EXPECT_TRUE(gone_.Await());
  held_.reset();
  EXPECT_THAT(logs_->Await(2).back().error + logs_->Await(2).front().error,
              HasSubstr("not read for so long"));
}

TEST_F(HttpClientsTest, OneThatStopsReadingIsClosedInTime) {
  options_.times.write = 300ms;
  options_.max_unread_bytes = 64 << 20;
  Start();
  RawClient client(Address());
  BeginStream(client);
  held_->SendEvent("data: " + std::string(32 << 20, 'x') + "\n\n");
  EXPECT_TRUE(gone_.Await()) << "more than sockets take";
  held_.reset();
  ExpectStillServes();
}

TEST_F(HttpClientsTest, ManyRequestsWithoutReadingAnswers) {
  Start();
  RawClient client(Address());
  std::string requests;
  while (requests.size() < (4 << 20)) requests += Fill(JsonPost("/echo", std::string(100, '1')));
  // The server stops reading when its answers are not read; then nothing more can be sent.
  std::thread sender([&] { client.Send(requests); });
  std::this_thread::sleep_for(200ms);
  ExpectStillServes();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(client.Read().status, 200) << i;
  shutdown(client.socket(), SHUT_RDWR);
  sender.join();
  client.Close();
  EXPECT_TRUE(ConnectionsSettleAt(0));
}

TEST_F(HttpClientsTest, DrainingRefusesWhatIsNewAndEndsWhatIsOpen) {
  Start();
  RawClient client(Address());
  BeginStream(client);
  server_->BeginDrain();
  const RawAnswer refused = Ask(JsonPost("/echo", "{}"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_FALSE(server_->WaitUntilIdle(50ms));
  EXPECT_TRUE(held_->SendEvent("data: last\n\n"));
  held_->EndEvents();
  held_.reset();
  EXPECT_NE(client.ReadUntil("data: last"), "");
  EXPECT_TRUE(server_->WaitUntilIdle(5s));
}

TEST_F(HttpClientsTest, StoppingEndsAllThatIsOpen) {
  Start();
  RawClient streaming(Address()), idle(Address()), half(Address());
  BeginStream(streaming);
  half.Send("POST /echo HTTP/1.1\r\n");
  std::thread owner([this] {  // as handlers do: told that the client is gone, they let go
    gone_.Await();
    held_.reset();
  });
  server_->Stop();
  owner.join();
  for (RawClient* client : {&streaming, &idle, &half}) EXPECT_TRUE(client->ReadsEnd(5s));
  EXPECT_FALSE(RawClient(Address()).connected());
}

}  // namespace
}  // namespace tandem
