// A gRPC port that asks for keys and, with a certificate, speaks TLS.
//
// Every call is asked, whatever its method: health, reflection and methods that do not exist, too.
// gRPC's C++ layer refuses such a check on a port without TLS, its core does not; so the port is
// made through the core's public interface (gRPC 1.51).
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "service/access/api_keys.h"
#include "service/access/tls_files.h"

namespace tandem {

// `keys` must outlive the server. A call without a good key in its metadata (`authorization: Bearer
// KEY`, or `x-api-key`) ends with UNAUTHENTICATED, one of tandem.v1.Placement that is not an
// admin's with PERMISSION_DENIED. `tls` null: none.
std::shared_ptr<grpc::ServerCredentials> MakeKeyCredentials(const ApiKeys& keys, const TlsPem* tls);

}  // namespace tandem
