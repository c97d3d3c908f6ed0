#include "service/grpc/key_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <string>

#include "service/grpc/call_context.h"

namespace tandem {
namespace {

constexpr char kAdminMethods[] = "/tandem.v1.Placement/";

std::string ToString(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

absl::Status CheckCall(const ApiKeys& keys, const grpc_metadata* metadata, size_t n_metadata) {
  std::string path;
  CallKey key;
  for (size_t i = 0; i < n_metadata; ++i) {
    const std::string name = ToString(metadata[i].key);
    if (name == ":path") path = ToString(metadata[i].value);
    key.Take(name, ToString(metadata[i].value));
  }
  TANDEM_ASSIGN_OR_RETURN(const Caller caller, keys.Check(key.presented()));
  if (path.starts_with(kAdminMethods) && !caller.admin) {
    return absl::PermissionDeniedError("this needs an admin's key");
  }
  return absl::OkStatus();
}

void OnCall(void* keys, grpc_auth_context*, const grpc_metadata* metadata, size_t n_metadata,
            grpc_process_auth_metadata_done_cb done, void* call) {
  const absl::Status status = CheckCall(*static_cast<const ApiKeys*>(keys), metadata, n_metadata);
  done(call, nullptr, 0, nullptr, 0, static_cast<grpc_status_code>(status.code()),
       status.ok() ? nullptr : std::string(status.message()).c_str());
}

class KeyCredentials final : public grpc::ServerCredentials {
 public:
  KeyCredentials(const ApiKeys& keys, const TlsPem* tls) : keys_(keys), core_(Make(tls)) {
    if (keys_.empty()) return;
    grpc_server_credentials_set_auth_metadata_processor(
        core_, {OnCall, nullptr, const_cast<ApiKeys*>(&keys_)});
  }
  ~KeyCredentials() override { grpc_server_credentials_release(core_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    TANDEM_CHECK(false, "who may call is checked by keys");
  }

 private:
  static grpc_server_credentials* Make(const TlsPem* tls) {
    if (tls == nullptr) return grpc_insecure_server_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = {tls->private_key.c_str(), tls->certificates.c_str()};
    return grpc_ssl_server_credentials_create_ex(nullptr, &pair, 1,
                                                 GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, nullptr);
  }
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), core_);
  }

  const ApiKeys& keys_;
  grpc_server_credentials* const core_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeKeyCredentials(const ApiKeys& keys,
                                                            const TlsPem* tls) {
  return std::make_shared<KeyCredentials>(keys, tls);
}

}  // namespace tandem
