// Every field of every gRPC request, as protobuf enumerates them, with values at and beyond its
// edges: each call is answered, or refused by a sentence, and costs nothing else.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "service/server.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/placement.pb.h"
#include "tests/service/fake_engine.h"
#include "tests/service/internal_words.h"
#include "tests/service/raw_call.h"

namespace tandem {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

class GrpcExtremes : public testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start(engine_, {.address = "127.0.0.1:0", .model_name = "m"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  }
  void Call(const std::string& method, const Message& request, const std::string& what) {
    const RawReply reply = RawCall(channel_, method, "", request.SerializePartialAsString());
    const auto code = reply.status.error_code();
    EXPECT_TRUE(code == grpc::OK || code == grpc::INVALID_ARGUMENT || code == grpc::NOT_FOUND ||
                code == grpc::ALREADY_EXISTS)
        << method << " with " << what << ": " << code << " " << reply.status.error_message();
    EXPECT_EQ(InternalWordIn(reply.status.error_message()), "") << reply.status.error_message();
    EXPECT_LT(reply.status.error_message().size(), 600u);
    (code == grpc::OK ? answered_ : refused_) += 1;
  }

  FakeEngine engine_{{.answer = [](const std::string&) { return "x"; }}};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  int answered_ = 0, refused_ = 0;
};

// Sets or adds values of a kind of field.
using Set = std::function<void(Message&, const FieldDescriptor*)>;

std::vector<Set> ExtremesOf(const FieldDescriptor* field) {
  std::vector<Set> sets;
  const auto add = [&](auto setter, auto adder, auto... values) {
    for (const auto value : {values...}) {
      sets.push_back([=](Message& message, const FieldDescriptor* of) {
        const auto* reflection = message.GetReflection();
        if (of->is_repeated()) {
          (reflection->*adder)(&message, of, value);
        } else {
          (reflection->*setter)(&message, of, value);
        }
      });
    }
  };
  using R = google::protobuf::Reflection;
  using F = std::numeric_limits<float>;
  using D = std::numeric_limits<double>;
  constexpr int32_t kMin = INT32_MIN, kMax = INT32_MAX;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      add(&R::SetInt32, &R::AddInt32, kMin, -1, 0, 1, 1'000'000'000, kMax);
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      add(&R::SetInt64, &R::AddInt64, INT64_MIN, int64_t{-1}, int64_t{0}, INT64_MAX);
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      add(&R::SetUInt32, &R::AddUInt32, 0u, UINT32_MAX);
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      add(&R::SetUInt64, &R::AddUInt64, uint64_t{0}, uint64_t{UINT64_MAX});
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
      add(&R::SetFloat, &R::AddFloat, -1.0f, 0.0f, F::denorm_min(), F::max(), F::lowest(),
          F::infinity(), -F::infinity(), F::quiet_NaN());
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      add(&R::SetDouble, &R::AddDouble, -1.0, 0.0, D::max(), D::infinity(), D::quiet_NaN());
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      add(&R::SetBool, &R::AddBool, false, true);
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      add(&R::SetEnumValue, &R::AddEnumValue, -1, 0, 1, 77, kMax);
      break;
    case FieldDescriptor::CPPTYPE_STRING: {
      for (const std::string& text :
           {std::string(), std::string("\0", 1), std::string("x"), std::string("[]"),
            std::string("{"), std::string("../../etc/passwd"), std::string(100'000, 'x'),
            std::string(100'000, '['), std::string("\xe2\x80\xae<|im_end|>")}) {
        sets.push_back([=](Message& message, const FieldDescriptor* of) {
          const auto* reflection = message.GetReflection();
          if (of->is_repeated()) {
            reflection->AddString(&message, of, text);
          } else {
            reflection->SetString(&message, of, text);
          }
        });
      }
      break;
    }
    default:
      break;
  }
  return sets;
}

// Calls `visit` with every path of fields down to a scalar, at most `depth` messages deep.
void EachScalar(const google::protobuf::Descriptor* type, int depth,
                std::vector<const FieldDescriptor*>& path,
                const std::function<void(const std::vector<const FieldDescriptor*>&)>& visit) {
  for (int i = 0; i < type->field_count(); ++i) {
    path.push_back(type->field(i));
    if (type->field(i)->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      visit(path);
    } else if (depth > 0) {
      EachScalar(type->field(i)->message_type(), depth - 1, path, visit);
    }
    path.pop_back();
  }
}

// The message that the last field of `path` belongs to; lists get an entry, or their first is
// taken.
Message& Descend(Message& message, const std::vector<const FieldDescriptor*>& path) {
  Message* at = &message;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    const auto* reflection = at->GetReflection();
    if (!path[i]->is_repeated()) {
      at = reflection->MutableMessage(at, path[i]);
    } else if (reflection->FieldSize(*at, path[i]) > 0 && !path[i]->is_map()) {
      at = reflection->MutableRepeatedMessage(at, path[i], 0);
    } else {
      at = reflection->AddMessage(at, path[i]);
    }
  }
  return *at;
}

TEST_F(GrpcExtremes, EveryFieldOfEveryRequest) {
  v1::ChatRequest chat;
  auto& message = *chat.mutable_conversation()->add_messages();
  message.set_role(v1::ROLE_USER);
  message.add_content()->set_text("hi");
  v1::GenerateRequest generate;
  generate.set_text("hi");
  v1::TokenizeRequest tokenize;
  tokenize.set_text("hi");
  v1::DetokenizeRequest detokenize;
  const std::vector<std::pair<std::string, const Message*>> requests = {
      {"/tandem.v1.Inference/Chat", &chat},
      {"/tandem.v1.Inference/Generate", &generate},
      {"/tandem.v1.Inference/Tokenize", &tokenize},
      {"/tandem.v1.Inference/Detokenize", &detokenize}};
  for (const auto& [method, good] : requests) {
    std::vector<const FieldDescriptor*> path;
    EachScalar(good->GetDescriptor(), 4, path, [&, &method = method, &good = good](const auto& to) {
      std::string name;
      for (const FieldDescriptor* field : to) name += "." + field->name();
      for (const Set& set : ExtremesOf(to.back())) {
        const std::unique_ptr<Message> request(good->New());
        request->CopyFrom(*good);
        set(Descend(*request, to), to.back());
        Call(method, *request, name);
      }
    });
    Call(method, *good, "nothing odd");
  }
  EXPECT_GT(answered_, 100);
  EXPECT_GT(refused_, 50);
}

TEST_F(GrpcExtremes, BytesThatAreNoMessage) {
  for (const std::string& bytes :
       {std::string("\xff"), std::string("\x0a\xff\xff\xff\xff\x0f"), std::string(1000, '\x0a'),
        std::string("\x0a\x02\xff\xfe", 4), std::string("\x0b"), std::string(100'000, '\x0b')}) {
    for (const char* method : {"Chat", "Generate", "Tokenize", "Detokenize"}) {
      const RawReply reply =
          RawCall(channel_, std::string("/tandem.v1.Inference/") + method, "", bytes);
      EXPECT_FALSE(reply.status.ok()) << method;
    }
  }
  v1::GenerateRequest good;
  good.set_text("hi");
  Call("/tandem.v1.Inference/Generate", good, "nothing odd");
  EXPECT_EQ(answered_, 1);
}

}  // namespace
}  // namespace tandem
