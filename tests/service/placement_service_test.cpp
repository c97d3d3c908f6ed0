// Recordings over gRPC, of a scripted engine that routes by token.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "placement/profile_file.h"
#include "placement/routing_trace.h"
#include "service/server.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tandem/v1/placement.grpc.pb.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using testing::HasSubstr;

struct Stopped {
  grpc::Status status;
  std::string profile, trace;
  size_t largest_chunk = 0;
};

class PlacementServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start(engine_, {.address = "127.0.0.1:0", .model_name = "m"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    const auto channel =
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    placement_ = v1::Placement::NewStub(channel);
    inference_ = v1::Inference::NewStub(channel);
  }

  grpc::Status Start(const v1::StartRecordingRequest& request = {}) {
    grpc::ClientContext context;
    v1::StartRecordingResponse response;
    return placement_->StartRecording(&context, request, &response);
  }
  v1::GetRecordingResponse Get() {
    grpc::ClientContext context;
    v1::GetRecordingResponse response;
    EXPECT_TRUE(placement_->GetRecording(&context, {}, &response).ok());
    return response;
  }
  Stopped Stop() {
    grpc::ClientContext context;
    const auto reader = placement_->StopRecording(&context, {});
    Stopped stopped;
    for (v1::RecordingChunk chunk; reader->Read(&chunk);) {
      stopped.largest_chunk = std::max(stopped.largest_chunk, chunk.ByteSizeLong());
      stopped.profile += chunk.profile();
      stopped.trace += chunk.trace();
    }
    stopped.status = reader->Finish();
    return stopped;
  }
  // The engine says the prompt again: a token per byte.
  grpc::Status Say(const std::string& text, const std::string& label = "") {
    grpc::ClientContext context;
    v1::GenerateRequest request;
    request.set_text(text);
    request.set_label(label);
    const auto reader = inference_->Generate(&context, request);
    for (v1::GenerateEvent event; reader->Read(&event);) {
    }
    return reader->Finish();
  }

  FakeEngine engine_{{}};
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Placement::Stub> placement_;
  std::unique_ptr<v1::Inference::Stub> inference_;
};

TEST_F(PlacementServiceTest, RecordsWhatIsAskedMeanwhile) {
  ASSERT_TRUE(Say("before").ok());
  v1::StartRecordingRequest request;
  request.set_label("unnamed");
  ASSERT_TRUE(Start(request).ok());
  EXPECT_TRUE(Get().recording());
  ASSERT_TRUE(Say("aaa").ok());  // 'a' is 97: experts 1 and 2
  ASSERT_TRUE(Say("hh", "greetings").ok());
  EXPECT_EQ(Get().tokens(), 5);
  EXPECT_EQ(Get().trace_tokens(), 0);
  const Stopped stopped = Stop();
  ASSERT_TRUE(stopped.status.ok()) << stopped.status.error_message();
  EXPECT_FALSE(Get().recording());
  ASSERT_TRUE(Say("after").ok());

  const auto profile = ProfileFromBytes(stopped.profile, "answer");
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->model, engine_.identity());
  ASSERT_EQ(profile->labels.size(), 2u);
  EXPECT_EQ(profile->labels[0].name, "unnamed");
  EXPECT_EQ(profile->labels[1].name, "greetings");
  const RoutingCounts& unnamed = profile->labels[0].of(Split::kTrain, Phase::kDecode);
  EXPECT_EQ(unnamed.tokens, 3);
  EXPECT_THAT(unnamed.hits, testing::ElementsAre(0, 3, 3, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0));
  EXPECT_EQ(profile->labels[1].of(Split::kTrain, Phase::kDecode).hits[0], 2);  // 'h' is 104
  EXPECT_TRUE(stopped.trace.empty());
}

TEST_F(PlacementServiceTest, TracesComeAsWellAndEndInTime) {
  v1::StartRecordingRequest request;
  request.set_with_trace(true);
  request.set_max_trace_tokens(4);
  ASSERT_TRUE(Start(request).ok());
  ASSERT_TRUE(Say("abcdefg").ok());
  EXPECT_EQ(Get().trace_tokens(), 4);
  EXPECT_EQ(Get().tokens(), 7);
  const Stopped stopped = Stop();
  ASSERT_TRUE(stopped.status.ok()) << stopped.status.error_message();
  const auto path = std::filesystem::temp_directory_path() /
                    ("placement_service_test." + std::to_string(getpid()));
  std::ofstream(path, std::ios::binary) << stopped.trace;
  const auto trace = ReadRoutingTrace(path.string());
  std::filesystem::remove(path);
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->tokens(), 4);
  EXPECT_THAT(trace->steps[3].ids, testing::ElementsAre(4, 5, 4, 5));  // 'd' is 100
}

TEST_F(PlacementServiceTest, LargeTracesComeInPieces) {
  v1::StartRecordingRequest request;
  request.set_with_trace(true);
  ASSERT_TRUE(Start(request).ok());
  ASSERT_TRUE(Say(std::string(100'000, 'x')).ok());
  const Stopped stopped = Stop();
  ASSERT_TRUE(stopped.status.ok()) << stopped.status.error_message();
  EXPECT_GT(stopped.trace.size(), 2u << 20);
  EXPECT_LT(stopped.largest_chunk, 3u << 20);
}

TEST_F(PlacementServiceTest, RefusalsAreSentences) {
  const grpc::Status not_recording = Stop().status;
  EXPECT_EQ(not_recording.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(not_recording.error_message(), "nothing is being recorded");
  v1::StartRecordingRequest request;
  request.set_max_trace_tokens(0);
  EXPECT_EQ(Start(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.Clear();
  request.set_label(std::string(65, 'x'));
  EXPECT_THAT(Start(request).error_message(), HasSubstr("label is 65 bytes long"));
  EXPECT_FALSE(Get().recording());

  ASSERT_TRUE(Start().ok());
  const grpc::Status twice = Start();
  EXPECT_EQ(twice.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(twice.error_message(), HasSubstr("a recording has been running for"));
  EXPECT_EQ(Say("x", std::string(65, 'x')).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status nothing = Stop().status;  // nobody asked anything
  EXPECT_THAT(nothing.error_message(), HasSubstr("nothing was asked meanwhile"));
  EXPECT_TRUE(Start().ok());  // that one has ended
}

TEST_F(PlacementServiceTest, AServerMayEndWhileItRecords) {
  v1::StartRecordingRequest request;
  request.set_with_trace(true);
  ASSERT_TRUE(Start(request).ok());
  ASSERT_TRUE(Say("abc").ok());
  EXPECT_EQ(engine_.n_observers(), 1u);
  server_.reset();
  EXPECT_EQ(engine_.n_observers(), 0u);
}

}  // namespace
}  // namespace tandem
