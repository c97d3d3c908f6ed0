#include "service/access/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

absl::StatusOr<std::string> ReadFile(const std::string& path, const char* what) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && text.empty()) {
    return absl::NotFoundError(absl::StrCat(path, ": no such ", what, ", or it cannot be read"));
  }
  return text;
}

Bio Open(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Asked for a passphrase, which no file here has.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::Status CheckPrivate(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && (info.st_mode & S_IRWXO) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": everybody on this machine may read this private key; expected mode 0600 or 0640"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsPem> LoadTls(const std::string& certificate_path, const std::string& key_path) {
  TlsPem pem;
  TANDEM_ASSIGN_OR_RETURN(pem.certificates, ReadFile(certificate_path, "TLS certificate"));
  TANDEM_RETURN_IF_ERROR(CheckPrivate(key_path));
  TANDEM_ASSIGN_OR_RETURN(pem.private_key, ReadFile(key_path, "TLS private key"));
  const Certificate certificate(
      PEM_read_bio_X509(Open(pem.certificates).get(), nullptr, NoPassphrase, nullptr));
  const Key key(
      PEM_read_bio_PrivateKey(Open(pem.private_key).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(certificate_path, ": holds no certificate in PEM form"));
  }
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(key_path, ": holds no private key in PEM form without a passphrase"));
  }
  const bool match = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!match) {
    return absl::InvalidArgumentError(absl::StrCat(
        key_path, ": is not the private key of the (first) certificate in ", certificate_path));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(certificate_path, ": the certificate has expired"));
  }
  return pem;
}

}  // namespace tandem
