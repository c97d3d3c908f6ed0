#include "service/http/wire.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/log.h"

namespace tandem {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class Timer final : public WireTimer, public std::enable_shared_from_this<Timer> {
 public:
  explicit Timer(const asio::any_io_executor& executor) : timer_(executor) {}

  void After(std::chrono::milliseconds time, std::function<void()> then) override {
    then_ = std::move(then);
    timer_.expires_after(time);
    // One that has expired already cannot be cancelled: it is told by its number.
    timer_.async_wait([self = shared_from_this(), number = ++number_](error_code) {
      if (number == self->number_ && self->then_) std::exchange(self->then_, nullptr)();
    });
  }
  void Cancel() override {
    ++number_;
    then_ = nullptr;
    timer_.cancel();
  }

 private:
  asio::steady_timer timer_;
  std::function<void()> then_;
  int64_t number_ = 0;
};

std::string AddressOf(const tcp::socket& socket) {
  error_code ignored;
  const tcp::endpoint endpoint = socket.local_endpoint(ignored);
  const auto address = endpoint.address();
  return address.is_v6() ? absl::StrCat("[", address.to_string(), "]") : address.to_string();
}

// `Stream` is a tcp::socket or TLS over one.
template <class Stream>
class WireOver final : public Wire {
 public:
  template <class... Args>
  explicit WireOver(tcp::socket socket, Args&... args)
      : local_address_(AddressOf(socket)), stream_(std::move(socket), args...) {
    error_code ignored;
    Socket().set_option(tcp::no_delay(true), ignored);
  }

  void Handshake(std::function<void(bool)> done) override {
    if constexpr (kSecure) {
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [done = std::move(done)](error_code error) { done(!error); });
    } else {
      done(true);
    }
  }
  void ReadSome(char* to, size_t size, Done done) override {
    stream_.async_read_some(
        asio::buffer(to, size),
        [done = std::move(done)](error_code error, size_t bytes) { done(error ? 0 : bytes); });
  }
  void WriteSome(std::string_view bytes, Done done) override {
    stream_.async_write_some(
        asio::buffer(bytes.data(), bytes.size()),
        [done = std::move(done)](error_code error, size_t bytes) { done(error ? 0 : bytes); });
  }
  void EndWriting() override {
    error_code ignored;
    Socket().shutdown(tcp::socket::shutdown_send, ignored);
  }
  void Close() override {
    error_code ignored;
    Socket().close(ignored);
  }
  std::shared_ptr<WireTimer> NewTimer() override {
    return std::make_shared<Timer>(stream_.get_executor());
  }
  void Post(std::function<void()> task) override {
    asio::post(stream_.get_executor(), std::move(task));
  }
  const std::string& local_address() const override { return local_address_; }
  bool secure() const override { return kSecure; }

 private:
  static constexpr bool kSecure = !std::is_same_v<Stream, tcp::socket>;
  tcp::socket& Socket() {
    if constexpr (kSecure) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }

  const std::string local_address_;
  Stream stream_;
};

absl::StatusOr<tcp::endpoint> ParseAddress(asio::io_context& io, const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("HTTP address '", address, "' is none; expected HOST:PORT"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (host == "localhost") host = "127.0.0.1";
  error_code error;
  const auto found = tcp::resolver(io).resolve(host, absl::StrCat(port), error);
  if (error || found.empty()) {
    return absl::UnavailableError(absl::StrCat("HTTP address '", address, "': no such host"));
  }
  return found.begin()->endpoint();
}

absl::Status Configure(const TlsPem& tls, asio::ssl::context& context) {
  error_code error;
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  context.use_certificate_chain(asio::buffer(tls.certificates), error);
  if (!error) {
    context.use_private_key(asio::buffer(tls.private_key), asio::ssl::context::pem, error);
  }
  if (error) return absl::InvalidArgumentError("the TLS certificate and key cannot be used");
  return absl::OkStatus();
}

class AsioHost final : public WireHost {
 public:
  AsioHost(int threads, std::function<void(std::shared_ptr<Wire>)> accepted)
      : io_(threads), accepted_(std::move(accepted)) {}
  ~AsioHost() override {
    StopListening();
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
  }

  absl::Status Open(const std::string& address, const TlsPem* tls) {
    if (tls != nullptr) TANDEM_RETURN_IF_ERROR(Configure(*tls, tls_.emplace(kTls)));
    TANDEM_ASSIGN_OR_RETURN(const tcp::endpoint endpoint, ParseAddress(io_, address));
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat(
          "cannot listen on ", address, " (", error.message(),
          "); is another server running there, and is it an address of this machine?"));
    }
    port_ = acceptor_.local_endpoint().port();
    address_ = absl::StrCat(address.substr(0, address.rfind(':')), ":", port_);
    return absl::OkStatus();
  }
  void Run(int threads) {
    asio::post(accepting_, [this] { Accept(); });
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { io_.run(); });
  }

  const std::string& address() const override { return address_; }
  int port() const override { return port_; }
  void StopListening() override {
    asio::post(accepting_, [this] {
      error_code ignored;
      acceptor_.close(ignored);
      pause_.cancel();
    });
  }

 private:
  static constexpr auto kTls = asio::ssl::context::tls_server;

  void Accept() {
    acceptor_.async_accept(asio::make_strand(io_), [this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (!error) {
        Take(std::move(socket));
        return Accept();
      }
      // No file descriptor is free, most likely: no use in spinning.
      LogWarning("http: a connection could not be accepted: {}", error.message());
      pause_.expires_after(std::chrono::milliseconds(100));
      pause_.async_wait([this](error_code) {
        if (acceptor_.is_open()) Accept();
      });
    });
  }

  void Take(tcp::socket socket) {
    const auto strand = socket.get_executor();
    std::shared_ptr<Wire> wire;
    if (tls_) {
      wire = std::make_shared<WireOver<asio::ssl::stream<tcp::socket>>>(std::move(socket), *tls_);
    } else {
      wire = std::make_shared<WireOver<tcp::socket>>(std::move(socket));
    }
    asio::post(strand, [this, wire = std::move(wire)]() mutable { accepted_(std::move(wire)); });
  }

  asio::io_context io_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_{
      io_.get_executor()};
  const std::function<void(std::shared_ptr<Wire>)> accepted_;
  std::optional<asio::ssl::context> tls_;
  asio::strand<asio::io_context::executor_type> accepting_{io_.get_executor()};
  tcp::acceptor acceptor_{accepting_};
  asio::steady_timer pause_{accepting_};
  std::string address_;
  int port_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WireHost>> WireHost::Listen(
    const std::string& address, const TlsPem* tls, int threads,
    std::function<void(std::shared_ptr<Wire>)> accepted) {
  auto host = std::make_unique<AsioHost>(threads, std::move(accepted));
  TANDEM_RETURN_IF_ERROR(host->Open(address, tls));
  host->Run(threads);
  return host;
}

}  // namespace tandem
