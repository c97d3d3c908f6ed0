// 200 streamed chats from 16 clients at once against a real engine behind a real server. A third is
// cancelled midway. All others must be, letter by letter, what the same chat gives when it runs
// alone (greedy); a cancelled one must be the beginning of it. Afterwards memory and cache pages
// are back where they were.
//
// The model is $TANDEM_TEST_MODEL, else tools/demo/model, else a small random one that
// `tandem synth` makes. It computes with $TANDEM_TEST_THREADS workers, one by default.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "service/server.h"
#include "tandem/v1/inference.grpc.pb.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

namespace tandem {
namespace {

constexpr int kClients = 16;
constexpr int kChats = 200;
constexpr int kDifferentChats = 25;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Empty if there is none and none can be made.
std::string FindModel() {
  if (std::string named = Environment("TANDEM_TEST_MODEL"); !named.empty()) return named;
  const std::string demo = Environment("TANDEM_SOURCE_DIR") + "/tools/demo/model";
  if (std::filesystem::exists(demo + "/config.json")) return demo;
  const std::string made = testing::TempDir() + "/tandem_chat_soak_model";
  const std::string synth =
      Environment("TANDEM_BINARY_DIR") + "/tandem synth " + made + " --shape tiny";
  if (std::filesystem::exists(made + "/config.json")) return made;
  return std::system(synth.c_str()) == 0 ? made : "";
}

// Prompts of very different lengths, both modes.
v1::ChatRequest MakeChat(int number) {
  v1::ChatRequest request;
  v1::Conversation& conversation = *request.mutable_conversation();
  conversation.set_thinking(number % 2 == 0);
  std::string text = absl::StrCat("Question ", number, ": what is a river");
  for (int i = 0; i < number * number % 97; ++i) text += absl::StrCat(", and number ", i);
  v1::ChatMessage& message = *conversation.add_messages();
  message.set_role(v1::ROLE_USER);
  message.add_content()->set_text(text + "?");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_output()->set_max_tokens(8 + number * 7 % 41);
  request.mutable_output()->set_ignore_eos(number % 5 != 0);
  return request;
}

struct Outcome {
  grpc::Status status;
  std::string text;  // reasoning, then a bar, then the answer
};

// `cancel_after`: events to read before cancelling; 0: read all.
Outcome RunChat(v1::Inference::Stub& stub, const v1::ChatRequest& request, int cancel_after) {
  grpc::ClientContext context;
  auto reader = stub.Chat(&context, request);
  std::string reasoning, text;
  int events = 0;
  for (v1::ChatEvent event; reader->Read(&event);) {
    reasoning += event.reasoning();
    text += event.text();
    if (++events == cancel_after) context.TryCancel();
  }
  Outcome outcome;
  outcome.status = reader->Finish();
  outcome.text = text.empty() ? reasoning : reasoning + "|" + text;
  return outcome;
}

class ChatSoak : public testing::Test {
 protected:
  void SetUp() override {
    const std::string model = FindModel();
    if (model.empty()) FAIL() << "no model: tools/demo/model is absent, tandem synth failed";
    EngineOptions options;
    options.model_dir = model;
    options.kv_tokens = 16384;
    options.max_sequences = kClients;
    // A team on a machine that is busy with other tests waits for its slowest worker at each layer.
    const std::string threads = Environment("TANDEM_TEST_THREADS");
    options.threads = threads.empty() ? 1 : std::atoi(threads.c_str());
    auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    auto server = Server::Start(*engine_, {.address = "127.0.0.1:0"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // A connection of its own.
  std::unique_ptr<v1::Inference::Stub> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::Inference::NewStub(grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments));
  }

  v1::ServerStats Stats() {
    v1::GetModelInfoResponse info;
    grpc::ClientContext context;
    EXPECT_TRUE(Connect()->GetModelInfo(&context, {}, &info).ok());
    return info.stats();
  }

  // Ends of cancelled calls trail behind a little.
  v1::ServerStats IdleStats() {
    v1::ServerStats stats = Stats();
    for (int i = 0; i < 500 && stats.running() + stats.waiting() + stats.open_requests() > 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      stats = Stats();
    }
    return stats;
  }

  void RunAlone() {
    auto stub = Connect();
    for (int chat = 0; chat < kDifferentChats; ++chat) {
      const Outcome outcome = RunChat(*stub, MakeChat(chat), 0);
      ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
      alone_.push_back(outcome.text);
    }
  }

  void RunTogether() {
    std::atomic<int> next = 0;
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&] {
        auto stub = Connect();
        for (int chat = next++; chat < kChats; chat = next++) Check(*stub, chat);
      });
    }
    for (std::thread& client : clients) client.join();
  }

  void Check(v1::Inference::Stub& stub, int chat) {
    const int kind = chat % kDifferentChats;
    const bool cancel = chat % 3 == 0;
    const Outcome outcome = RunChat(stub, MakeChat(kind), cancel ? 1 + chat % 4 : 0);
    if (cancel && outcome.status.error_code() == grpc::StatusCode::CANCELLED) {
      ++cancelled_;
      EXPECT_EQ(alone_[kind].substr(0, outcome.text.size()), outcome.text) << "chat " << chat;
    } else {  // a short answer may have ended before the cancellation came
      EXPECT_TRUE(outcome.status.ok()) << chat << ": " << outcome.status.error_message();
      EXPECT_EQ(outcome.text, alone_[kind]) << "chat " << chat;
    }
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
  std::vector<std::string> alone_;
  std::atomic<int> cancelled_ = 0;
};

TEST_F(ChatSoak, ManyClientsSeeWhatOneWouldAndNothingIsLeftBehind) {
  ASSERT_NO_FATAL_FAILURE(RunAlone());
  RunTogether();  // grows pools, stacks and arenas to their working size
  const v1::ServerStats before = IdleStats();
  cancelled_ = 0;
  RunTogether();
  const v1::ServerStats after = IdleStats();

  EXPECT_GT(cancelled_, kChats / 6) << "cancellations hardly ever came in time";
  EXPECT_EQ(after.running() + after.waiting() + after.open_requests(), 0);
  EXPECT_EQ(after.kv_pages_used(), before.kv_pages_used());
  const int64_t grown_bytes = after.resident_bytes() - before.resident_bytes();
  std::printf("%d cancelled, resident memory %+.1f MiB, %ld pages in use\n", cancelled_.load(),
              grown_bytes / 1048576.0, static_cast<long>(after.kv_pages_used()));
  // A kilobyte lost per token would be 5 MiB. Sanitizers keep freed memory, and look for leaks
  // themselves.
  if (!kSanitized) {
    EXPECT_LT(grown_bytes, 4 << 20);
  }
}

}  // namespace
}  // namespace tandem
