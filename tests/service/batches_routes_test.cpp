// /v1/files and /v1/batches over a scripted engine.
#include "service/api/batches_routes.h"

#include <thread>

#include "service/api/files_routes.h"
#include "tests/service/api_fixture.h"
#include "tests/service/batch/job_lines.h"

namespace tandem {
namespace {

using testing::HasSubstr;

class BatchesRoutesTest : public ApiFixture {
 protected:
  BatchesRoutesTest() { Answer("well<|im_end|>"); }
  ~BatchesRoutesTest() override { batches_.reset(); }

  void AddRoutes(RouteTable& routes, const ServiceContext& service) override {
    auto batches = BatchQueue::Open(service, {.folder = dir_.File("b"), .max_in_flight = 4});
    ASSERT_TRUE(batches.ok()) << batches.status();
    batches_ = *std::move(batches);
    AddFilesRoutes(routes, batches_.get());
    AddBatchesRoutes(routes, service.limits, batches_.get());
  }
  std::string Line(const std::string& id, const std::string& more = "") {
    return R"({"custom_id":")" + id +
           R"(","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":)"
           R"([{"role":"user","content":"hi"}])" +
           more + "}}\n";
  }
  static std::string Field(const std::string& head, const std::string& content) {
    return "--b\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + content + "\r\n";
  }
  std::shared_ptr<KeptExchange> PostForm(const std::string& parts) {
    auto exchange = Start("POST", "/v1/files", parts + "--b--\r\n",
                          {{"content-type", "multipart/form-data; boundary=b"}});
    EXPECT_TRUE(exchange->WaitForEnd());
    return exchange;
  }
  Json UploadFile(const std::string& text) {
    return BodyOf(*PostForm(Field("name=\"purpose\"", "batch") +
                            Field("name=\"file\"; filename=\"in.jsonl\"", text)));
  }
  Json Create(const std::string& text) {
    const Json body = {{"input_file_id", UploadFile(text)["id"]},
                       {"endpoint", "/v1/chat/completions"},
                       {"completion_window", "24h"},
                       {"metadata", {{"night", "first"}}}};
    return BodyOf(*Ask("POST", "/v1/batches", body.dump()));
  }
  Json Get(const std::string& path) { return BodyOf(*Ask("GET", path, "")); }
  Json AwaitEnd(const std::string& id) {
    for (int i = 0; i < 1000; ++i) {
      const Json batch = Get("/v1/batches/" + id);
      if (batch["status"] == "completed" || batch["status"] == "failed" ||
          batch["status"] == "cancelled") {
        return batch;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << "the batch does not end";
    return {};
  }
  std::string Content(const std::string& id) {
    const auto exchange = Ask("GET", "/v1/files/" + id + "/content", "");
    EXPECT_EQ(exchange->response().status, 200);
    const auto pieces = exchange->response().pieces;
    std::string text;
    while (pieces != nullptr && std::ssize(text) < pieces->bytes()) text += *pieces->Next();
    return text;
  }

  TempDir dir_;
  std::unique_ptr<BatchQueue> batches_;
};

TEST_F(BatchesRoutesTest, FromUploadToResults) {
  const Json created = Create(Line("a") + Line("b", R"(,"temperature":9)"));
  EXPECT_EQ(created["object"], "batch");
  EXPECT_EQ(created["endpoint"], "/v1/chat/completions");
  EXPECT_EQ(created["completion_window"], "24h");
  EXPECT_EQ(created["metadata"]["night"], "first");
  EXPECT_EQ(created["expires_at"].get<int64_t>() - created["created_at"].get<int64_t>(), 86400);
  const Json batch = AwaitEnd(created["id"]);
  EXPECT_EQ(batch["status"], "completed");
  EXPECT_EQ(batch["request_counts"], (Json{{"total", 2}, {"completed", 1}, {"failed", 1}}));
  EXPECT_TRUE(batch["errors"].is_null());
  const Json answer = Json::parse(Content(batch["output_file_id"]));
  EXPECT_EQ(answer["custom_id"], "a");
  EXPECT_EQ(answer["response"]["status_code"], 200);
  EXPECT_EQ(answer["response"]["body"]["choices"][0]["finish_reason"], "stop");
  EXPECT_THAT(answer["response"]["body"].dump(), HasSubstr("well"));
  const Json error = Json::parse(Content(batch["error_file_id"]));
  EXPECT_EQ(error["response"]["status_code"], 400);
  EXPECT_EQ(Get("/v1/batches")["data"][0]["id"], batch["id"]);
  EXPECT_EQ(Get("/v1/files?purpose=batch_output")["data"].size(), 2u);
}

TEST_F(BatchesRoutesTest, FilesAreListedReadAndDeleted) {
  const Json file = UploadFile("some text");
  EXPECT_EQ(file["object"], "file");
  EXPECT_EQ(file["bytes"], 9);
  EXPECT_EQ(file["filename"], "in.jsonl");
  EXPECT_EQ(file["purpose"], "batch");
  const std::string id = file["id"];
  EXPECT_EQ(Get("/v1/files/" + id), file);
  EXPECT_EQ(Content(id), "some text");
  const Json list = Get("/v1/files?limit=1&order=asc");
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["first_id"], id);
  EXPECT_EQ(list["has_more"], false);
  caller_ = "another";
  EXPECT_EQ(Ask("GET", "/v1/files/" + id, "")->response().status, 404);
  EXPECT_EQ(Ask("GET", "/v1/files/" + id + "/content", "")->response().status, 404);
  EXPECT_EQ(Ask("DELETE", "/v1/files/" + id, "")->response().status, 404);
  EXPECT_TRUE(Get("/v1/files")["data"].empty());
  caller_ = "somebody";
  EXPECT_EQ(BodyOf(*Ask("DELETE", "/v1/files/" + id, ""))["deleted"], true);
  EXPECT_EQ(Ask("GET", "/v1/files/" + id, "")->response().status, 404);
}

TEST_F(BatchesRoutesTest, BadUploadsAreNamed) {
  const std::string purpose = Field("name=\"purpose\"", "batch");
  const std::string file = Field("name=\"file\"; filename=\"a\"", "x");
  for (const auto& [parts, word] : std::vector<std::pair<std::string, std::string>>{
           {purpose, "file is missing"},
           {file, "purpose is missing"},
           {file + Field("name=\"purpose\"", "fine-tune"), "purpose is"},
           {purpose + file + file, "file comes twice"},
           {purpose + file + Field("name=\"model\"", "m"), "model is not a field"},
           {purpose + file + Field("name=\"expires_after[seconds]\"", "1"), "expires_after"},
           {purpose + file + Field("name=\"expires_after[seconds]\"", "x"), "expires_after"},
           {purpose + file + Field("name=\"expires_after[anchor]\"", "x"), "expires_after"},
           {"", "the form"}}) {
    const auto exchange = PostForm(parts);
    EXPECT_EQ(exchange->response().status, 400) << parts;
    EXPECT_THAT(exchange->response().body, HasSubstr(word));
  }
  EXPECT_TRUE(Get("/v1/files")["data"].empty());
}

TEST_F(BatchesRoutesTest, BadBatchesAreNamed) {
  const std::string id = UploadFile(Line("a"))["id"];
  const Json good = {
      {"input_file_id", id}, {"endpoint", "/v1/chat/completions"}, {"completion_window", "24h"}};
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, Json>>{{"input_file_id", "file-unknown"},
                                                 {"input_file_id", nullptr},
                                                 {"endpoint", "/v1/embeddings"},
                                                 {"completion_window", "soon"},
                                                 {"completion_window", "1000d"},
                                                 {"metadata", {{"a", 1}}},
                                                 {"metadata", {{"a", std::string(513, 'x')}}},
                                                 {"output_expires_after", {{"seconds", 3600}}},
                                                 {"tools", 1}}) {
    Json body = good;
    body[field] = value;
    const auto exchange = Ask("POST", "/v1/batches", body.dump());
    EXPECT_EQ(exchange->response().status, 400) << body;
    EXPECT_THAT(exchange->response().body, HasSubstr(field));
  }
  for (const char* query : {"limit=0", "limit=x", "order=up", "after=batch_unknown"})
    EXPECT_EQ(Ask("GET", std::string("/v1/batches?") + query, "")->response().status, 400) << query;
  EXPECT_EQ(Ask("GET", "/v1/batches?all=true", "")->response().status, 403);
}

TEST_F(BatchesRoutesTest, FaultsOfAnInputAreTold) {
  const Json batch = AwaitEnd(Create(Line("a") + "{\n")["id"]);
  EXPECT_EQ(batch["status"], "failed");
  EXPECT_EQ(batch["errors"]["object"], "list");
  EXPECT_EQ(batch["errors"]["data"][0]["line"], 2);
  EXPECT_EQ(batch["errors"]["data"][0]["code"], "invalid_line");
}

TEST_F(BatchesRoutesTest, PausedResumedCancelledDeleted) {
  ASSERT_TRUE(batches_->SetAllPaused(true).ok());
  const std::string id = Create(Line("a"))["id"], path = "/v1/batches/" + id;
  EXPECT_EQ(Ask("DELETE", path, "")->response().status, 409);
  EXPECT_EQ(BodyOf(*Ask("POST", path + "/pause", ""))["tandem"]["paused"], true);
  ASSERT_EQ(BodyOf(*Ask("POST", "/api/batches/resume", ""))["paused"], false);
  EXPECT_EQ(BodyOf(*Ask("POST", path + "/resume", ""))["tandem"]["paused"], false);
  AwaitEnd(id);
  EXPECT_EQ(Ask("POST", path + "/cancel", "")->response().status, 409);
  EXPECT_EQ(BodyOf(*Ask("DELETE", path, ""))["deleted"], true);
  EXPECT_EQ(Ask("GET", path, "")->response().status, 404);
  EXPECT_EQ(Ask("POST", path + "/cancel", "")->response().status, 404);
}

TEST_F(BatchesRoutesTest, WithoutAFolderTheySaySo) {
  RouteTable routes;
  AddFilesRoutes(routes, nullptr);
  AddBatchesRoutes(routes, limits_, nullptr);
  EXPECT_EQ(routes.routes().size(), routes_.routes().size());
  for (const Route& route : routes.routes()) {
    auto exchange = std::make_shared<KeptExchange>();
    route.handler({}, exchange);
    EXPECT_EQ(exchange->response().status, 501) << route.path;
    EXPECT_THAT(exchange->response().body, HasSubstr("--batch-dir"));
    EXPECT_EQ(route.access, route.path.starts_with("/api/") ? Access::kAdmin : Access::kKey);
  }
}

}  // namespace
}  // namespace tandem
