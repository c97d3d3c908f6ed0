// tandem.v1.Batch over a scripted engine, seen through a real client connection.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "service/server.h"
#include "tandem/v1/batch.grpc.pb.h"
#include "tests/service/batch/job_lines.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class BatchServiceTest : public testing::Test {
 protected:
  void Start(std::chrono::microseconds step_time = 0us, bool keeps_batches = true) {
    server_.reset();
    engine_ = std::make_unique<FakeEngine>(FakeEngine::Script{.step_time = step_time});
    ServerOptions options = {.address = "127.0.0.1:0", .model_name = "any"};
    if (keeps_batches) options.batches = {.folder = dir_.File("batches"), .max_in_flight = 8};
    if (!keys_.empty()) {
      WriteFile(dir_.File("keys"), keys_);
      std::filesystem::permissions(dir_.File("keys"), std::filesystem::perms::owner_read);
      options.keys = *ApiKeys::Load(dir_.File("keys"));
    }
    auto server = Server::Start(*engine_, options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::Batch::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }
  std::string AddKey(const std::string& name, bool admin) {
    const auto [key, entry] = ApiKeys::Make(name, admin, {});
    keys_ += ApiKeys::ToLine(entry) + "\n";
    return key;
  }
  std::unique_ptr<grpc::ClientContext> Context() const {
    auto context = std::make_unique<grpc::ClientContext>();
    if (!key_.empty()) context->AddMetadata("authorization", "Bearer " + key_);
    return context;
  }
  static std::string ManyLines(int n) {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += CompletionLine(absl::StrCat("r", i), absl::StrCat("prompt ", i, " "));
    return text;
  }
  grpc::Status Send(const std::vector<v1::CreateBatchRequest>& messages, v1::BatchInfo& info) {
    const auto context = Context();
    const auto writer = stub_->CreateBatch(context.get(), &info);
    for (const auto& message : messages) writer->Write(message);
    writer->WritesDone();
    return writer->Finish();
  }
  // In pieces that end anywhere.
  static std::vector<v1::CreateBatchRequest> Messages(const std::string& text) {
    std::vector<v1::CreateBatchRequest> messages(1);
    messages[0].mutable_batch()->set_endpoint("/v1/completions");
    (*messages[0].mutable_batch()->mutable_metadata())["night"] = "first";
    for (size_t at = 0; at < text.size(); at += 777)
      messages.emplace_back().set_lines(text.substr(at, 777));
    messages.emplace_back().set_complete(true);
    return messages;
  }
  v1::BatchInfo Create(const std::string& text) {
    v1::BatchInfo info;
    const grpc::Status status = Send(Messages(text), info);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return info;
  }
  v1::BatchInfo Watch(const std::string& id, std::vector<v1::BatchInfo>* all = nullptr) {
    v1::WatchBatchRequest request;
    request.set_id(id);
    request.set_interval_ms(100);
    const auto context = Context();
    const auto reader = stub_->WatchBatch(context.get(), request);
    v1::BatchInfo info;
    while (reader->Read(&info))
      if (all != nullptr) all->push_back(info);
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return info;
  }
  grpc::Status Read(const std::string& id, int64_t first, bool follow,
                    std::vector<std::string>& lines) {
    v1::ReadResultsRequest request;
    request.set_id(id);
    request.set_first(first);
    request.set_follow(follow);
    const auto context = Context();
    const auto reader = stub_->ReadResults(context.get(), request);
    v1::ReadResultsResponse part;
    while (reader->Read(&part)) {
      EXPECT_EQ(part.first(), first + std::ssize(lines));
      lines.insert(lines.end(), part.lines().begin(), part.lines().end());
    }
    return reader->Finish();
  }
  template <class Request, class Response>
  grpc::Status Call(grpc::Status (v1::Batch::Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
                    const Request& request, Response* response) {
    const auto context = Context();
    return ((*stub_).*method)(context.get(), request, response);
  }
  grpc::Status CallGet(const std::string& id) {
    v1::GetBatchRequest request;
    request.set_id(id);
    v1::BatchInfo info;
    return Call(&v1::Batch::Stub::GetBatch, request, &info);
  }

  TempDir dir_;
  std::string keys_, key_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Batch::Stub> stub_;
};

TEST_F(BatchServiceTest, FromLinesToResults) {
  Start(1ms);
  const v1::BatchInfo created = Create(ManyLines(60));
  EXPECT_EQ(created.status(), v1::BATCH_STATUS_VALIDATING);
  EXPECT_EQ(created.metadata().at("night"), "first");
  std::vector<std::string> followed;
  std::thread reader([&] { EXPECT_TRUE(Read(created.id(), 0, true, followed).ok()); });
  std::vector<v1::BatchInfo> seen;
  const v1::BatchInfo ended = Watch(created.id(), &seen);
  reader.join();
  EXPECT_EQ(ended.status(), v1::BATCH_STATUS_COMPLETED);
  EXPECT_EQ(ended.requests(), 60);
  EXPECT_EQ(ended.done(), 60);
  EXPECT_GT(ended.ended_at_s(), 0);
  EXPECT_GT(seen.size(), 1u);
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GE(seen[i].done(), seen[i - 1].done());
  std::set<std::string> ids;
  for (const std::string& line : followed) ids.insert(nlohmann::json::parse(line)["custom_id"]);
  EXPECT_EQ(followed.size(), 60u);
  EXPECT_EQ(ids.size(), 60u);
  std::vector<std::string> rest;
  ASSERT_TRUE(Read(created.id(), 50, false, rest).ok());
  EXPECT_EQ(rest, std::vector<std::string>(followed.begin() + 50, followed.end()));
  std::vector<std::string> none;
  ASSERT_TRUE(Read(created.id(), 61, false, none).ok());
  EXPECT_TRUE(none.empty());
}

TEST_F(BatchServiceTest, BadStreamsAreNamedAndLeaveNothing) {
  Start();
  std::vector<v1::CreateBatchRequest> messages = Messages(ManyLines(3));
  v1::BatchInfo info;
  const auto fails = [&](std::vector<v1::CreateBatchRequest> bad, const std::string& word) {
    const grpc::Status status = Send(bad, info);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << word;
    EXPECT_THAT(status.error_message(), HasSubstr(word));
  };
  fails({}, "batch is missing");
  fails({messages[1]}, "first message");
  fails({messages[0], messages[0]}, "first message");
  fails({messages[0], v1::CreateBatchRequest()}, "part is missing");
  fails({messages[0], messages[1]}, "complete is missing");
  fails({messages[0], messages.back()}, "input_file_id");
  messages[0].mutable_batch()->set_endpoint("/v1/embeddings");
  fails(messages, "endpoint");
  {  // a client that leaves amid its lines
    grpc::ClientContext context;
    const auto writer = stub_->CreateBatch(&context, &info);
    writer->Write(Messages(ManyLines(3))[0]);
    writer->Write(messages[1]);
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  server_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(dir_.File("batches/files")));
}

TEST_F(BatchServiceTest, PausedResumedCancelledListedDeleted) {
  Start(1ms);
  const std::string id = Create(ManyLines(300)).id();
  v1::PauseBatchRequest pause;
  pause.set_id(id);
  v1::BatchInfo info;
  ASSERT_TRUE(Call(&v1::Batch::Stub::PauseBatch, pause, &info).ok());
  EXPECT_TRUE(info.paused());
  v1::ResumeBatchRequest resume;
  resume.set_id(id);
  ASSERT_TRUE(Call(&v1::Batch::Stub::ResumeBatch, resume, &info).ok());
  EXPECT_FALSE(info.paused());
  v1::DeleteBatchRequest erase;
  erase.set_id(id);
  v1::DeleteBatchResponse erased;
  EXPECT_EQ(Call(&v1::Batch::Stub::DeleteBatch, erase, &erased).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::CancelBatchRequest cancel;
  cancel.set_id(id);
  ASSERT_TRUE(Call(&v1::Batch::Stub::CancelBatch, cancel, &info).ok());
  const v1::BatchInfo ended = Watch(id);
  EXPECT_EQ(ended.status(), v1::BATCH_STATUS_CANCELLED);
  v1::ListBatchesResponse list;
  ASSERT_TRUE(Call(&v1::Batch::Stub::ListBatches, v1::ListBatchesRequest(), &list).ok());
  ASSERT_EQ(list.batches_size(), 1);
  EXPECT_EQ(list.batches(0).id(), id);
  ASSERT_TRUE(Call(&v1::Batch::Stub::DeleteBatch, erase, &erased).ok());
  EXPECT_EQ(CallGet(id).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(BatchServiceTest, KeysAreAskedFor) {
  const std::string ann = AddKey("ann", false), bob = AddKey("bob", false),
                    root = AddKey("root", true);
  Start();
  EXPECT_EQ(CallGet("x").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  key_ = ann;
  const std::string id = Create(ManyLines(2)).id();
  Watch(id);
  EXPECT_TRUE(CallGet(id).ok());
  v1::PauseAllBatchesRequest pause;
  v1::PauseAllBatchesResponse paused;
  EXPECT_EQ(Call(&v1::Batch::Stub::PauseAllBatches, pause, &paused).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  v1::ListBatchesRequest all;
  all.set_all_owners(true);
  v1::ListBatchesResponse list;
  EXPECT_EQ(Call(&v1::Batch::Stub::ListBatches, all, &list).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  key_ = bob;
  EXPECT_EQ(CallGet(id).error_code(), grpc::StatusCode::NOT_FOUND);
  std::vector<std::string> lines;
  EXPECT_EQ(Read(id, 0, false, lines).error_code(), grpc::StatusCode::NOT_FOUND);
  key_ = root;
  EXPECT_TRUE(CallGet(id).ok());
  EXPECT_EQ(Read(id, 0, false, lines).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Call(&v1::Batch::Stub::PauseAllBatches, pause, &paused).ok());
  EXPECT_TRUE(Call(&v1::Batch::Stub::ListBatches, all, &list).ok());
  EXPECT_EQ(list.batches_size(), 1);
}

TEST_F(BatchServiceTest, ShutdownKeepsWhatIsDoneAndTheNextStartGoesOn) {
  Start(1ms);
  const std::string id = Create(ManyLines(300)).id();
  std::vector<std::string> some;
  while (some.empty()) ASSERT_TRUE(Read(id, 0, false, some).ok());
  server_->Shutdown(2s);
  Start();
  EXPECT_EQ(Watch(id).done(), 300);
  std::vector<std::string> all;
  ASSERT_TRUE(Read(id, 0, false, all).ok());
  EXPECT_EQ(all.size(), 300u);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << "what was read stays";
}

TEST_F(BatchServiceTest, WithoutAFolderItSaysSo) {
  Start(0us, /*keeps_batches=*/false);
  EXPECT_EQ(CallGet("x").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  v1::BatchInfo info;
  EXPECT_EQ(Send(Messages(ManyLines(1)), info).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  std::vector<std::string> lines;
  EXPECT_EQ(Read("x", 0, false, lines).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace tandem
