#include "tests/service/raw_call.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

namespace tandem {
namespace {

using google::protobuf::UnknownFieldSet;

constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

std::string ToText(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices)
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

// A field of a message that nobody compiled: there is no header for reflection's.
std::string BytesField(int number, const std::string& bytes) {
  UnknownFieldSet fields;
  fields.AddLengthDelimited(number, bytes);
  std::string text;
  EXPECT_TRUE(fields.SerializeToString(&text));
  return text;
}
std::vector<std::string> BytesFields(const std::string& message, int number) {
  UnknownFieldSet fields;
  EXPECT_TRUE(fields.ParseFromString(message));
  std::vector<std::string> found;
  for (int i = 0; i < fields.field_count(); ++i) {
    const auto& field = fields.field(i);
    if (field.number() == number &&
        field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      found.push_back(field.length_delimited());
  }
  return found;
}

// The one answer of a kind to one question.
std::string Reflect(const std::shared_ptr<grpc::Channel>& channel, const std::string& key,
                    const std::string& question, int kind) {
  const RawReply reply = RawCall(channel, kReflection, key, question);
  if (reply.messages.empty()) {
    ADD_FAILURE() << reply.status.error_message();
    return "";
  }
  const auto answers = BytesFields(reply.messages[0], kind);
  return answers.empty() ? "" : answers[0];
}

// "/SERVICE/METHOD" of those that the file with this service declares.
void AddMethods(const std::string& file_bytes, const std::string& service,
                std::vector<std::string>& methods) {
  google::protobuf::FileDescriptorProto file;
  ASSERT_TRUE(file.ParseFromString(file_bytes));
  for (const auto& declared : file.service()) {
    if (file.package() + "." + declared.name() != service) continue;
    for (const auto& method : declared.method())
      methods.push_back("/" + service + "/" + method.name());
  }
}

}  // namespace

RawReply RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                 const std::string& key, const std::string& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel);
  const auto call = stub.PrepareCall(&context, method, &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  RawReply reply;
  if (wait()) {
    const grpc::Slice slice(request);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    wait();
    grpc::ByteBuffer message;
    call->Read(&message, nullptr);
    if (wait()) {
      reply.messages.push_back(ToText(message));
      context.TryCancel();  // some never end by themselves
    }
  }
  call->Finish(&reply.status, nullptr);
  wait();
  if (!reply.messages.empty()) reply.status = grpc::Status::OK;
  queue.Shutdown();
  while (wait()) {
  }
  return reply;
}

std::vector<std::string> ReflectedMethods(const std::shared_ptr<grpc::Channel>& channel,
                                          const std::string& key) {
  constexpr int kListServices = 7, kServices = 6, kFileOf = 4, kFiles = 4;
  std::vector<std::string> methods;
  const std::string list = Reflect(channel, key, BytesField(kListServices, ""), kServices);
  for (const std::string& entry : BytesFields(list, 1)) {
    const std::string service = BytesFields(entry, 1).at(0);
    const std::string files = Reflect(channel, key, BytesField(kFileOf, service), kFiles);
    for (const std::string& file : BytesFields(files, 1)) AddMethods(file, service, methods);
  }
  std::sort(methods.begin(), methods.end());
  return methods;
}

}  // namespace tandem
