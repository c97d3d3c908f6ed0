#include "tools/serve_flags.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "service/listen_address.h"
#include "service/ops/access_log.h"

namespace tandem {
namespace {

std::string AddressOf(const std::string& flag) { return flag == "off" ? "" : flag; }

ListenSafety SafetyOf(const ServerOptions& options) {
  return {
      .keys = !options.keys.empty(), .tls = options.tls.has_value(), .insecure = options.insecure};
}

// A batch keeps some more requests in flight than are computed at once; all of them together leave
// half of the engine's places to others.
BatchQueueOptions BatchesOf(const ServeFlags& flags, const EngineFlags& engine) {
  BatchQueueOptions batches = {.folder = flags.batch_dir};
  batches.limits.max_all_bytes = int64_t{flags.batch_gib} << 30;
  batches.limits.max_key_bytes =
      std::min(batches.limits.max_key_bytes, batches.limits.max_all_bytes);
  const int32_t wanted = engine.max_sequences + std::max(1, engine.max_sequences / 8);
  const int32_t half = (engine.max_sequences + engine.max_queue) / 2;
  batches.max_in_flight = std::clamp(half / batches.limits.max_running, 1, wanted);
  batches.answered_by = AnswerSettings(engine, flags.Policy());
  return batches;
}

}  // namespace

std::string AnswerSettings(const EngineFlags& engine, const PromptPolicy& policy) {
  return absl::StrCat("dense ", engine.dense_dtype, "; experts' activations ",
                      engine.expert_activations,
                      policy.thinking_default ? "; thinking" : "; no thinking",
                      policy.normalise_volatile ? "" : "; prompts as they are");
}

PromptPolicy ServeFlags::Policy() const {
  return {.normalise_volatile = !no_normalise,
          .log_prompts = log_prompts,
          .thinking_default = !no_thinking_default};
}

std::string ModelNameOf(const std::string& model) {
  const std::filesystem::path folder = std::filesystem::absolute(model);
  return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
}

void ServeFlags::AddTo(CLI::App* sub) {
  sub->add_option("--grpc", grpc, "listen there for gRPC; port 0 picks a free one; off: do not")
      ->type_name("ADDR")
      ->capture_default_str();
  sub->add_option("--http", http, "listen there for HTTP; likewise")
      ->type_name("ADDR")
      ->capture_default_str();
  sub->add_option("--name", name, "what APIs call the model; default: the name of its folder")
      ->type_name("NAME");
  sub->add_option("--keys", keys, "ask clients for one of these keys; see `tandem keys`")
      ->type_name("FILE");
  auto* cert = sub->add_option("--tls-cert", tls_cert, "encrypt, with this certificate (PEM)")
                   ->type_name("FILE");
  auto* key = sub->add_option("--tls-key", tls_key, "its private key (PEM)")->type_name("FILE");
  cert->needs(key);
  key->needs(cert);
  sub->add_option("--allow-host", allow_hosts,
                  "a name under which HTTP clients may ask, besides the address: NAME[:PORT]")
      ->type_name("NAME");
  sub->add_flag("--insecure", insecure,
                "allow addresses that other machines can reach even without keys and TLS");
  sub->add_option("--drain", drain_s, "seconds that open answers get at the end")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  sub->add_option("--access-log", access_log,
                  "append a line of JSON for every request, at its end; -: to standard output")
      ->type_name("FILE");
  sub->add_option("--batch-dir", batch_dir,
                  "keep files and batches of clients in this folder; without it there are none")
      ->type_name("DIR");
  sub->add_option("--batch-gib", batch_gib, "most GiB of files that it may hold")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_flag("--no-thinking-default", no_thinking_default,
                "answer without thinking unless a request asks for it");
  sub->add_flag("--no-normalise", no_normalise,
                "leave prompts as they are: fields that agents change with every request stay");
  sub->add_flag("--log-prompts", log_prompts, "prompts may appear in the log");
}

absl::StatusOr<ServerOptions> ServeFlags::ToOptions(const EngineFlags& engine) const {
  ServerOptions options;
  options.address = AddressOf(grpc);
  options.http_address = AddressOf(http);
  if (options.address.empty() && options.http_address.empty()) {
    return absl::InvalidArgumentError("--grpc off and --http off: nothing is left to serve");
  }
  options.insecure = insecure;
  options.allowed_hosts = allow_hosts;
  options.model_name = name.empty() ? ModelNameOf(engine.model) : name;
  options.policy = Policy();
  // The engine refuses first; the margin is for short calls such as Tokenize.
  options.limits.max_open_requests = engine.max_sequences + engine.max_queue + 64;
  options.batches = BatchesOf(*this, engine);
  if (!keys.empty()) {
    TANDEM_ASSIGN_OR_RETURN(options.keys, ApiKeys::Load(keys));
  }
  if (!tls_cert.empty()) {
    TANDEM_ASSIGN_OR_RETURN(options.tls, LoadTls(tls_cert, tls_key));
  }
  for (const std::string& address : {options.address, options.http_address}) {
    if (!address.empty()) {
      TANDEM_RETURN_IF_ERROR(CheckListenAddress(address, SafetyOf(options)));
    }
  }
  if (!access_log.empty()) {
    TANDEM_ASSIGN_OR_RETURN(std::shared_ptr<AccessLog> log, AccessLog::Open(access_log));
    options.observers.push_back(std::move(log));
  }
  return options;
}

void PrintAddresses(const Server& server, const ServerOptions& options) {
  if (!server.address().empty()) {
    std::printf("listening on %s (gRPC tandem.v1)\n", server.address().c_str());
  }
  if (!server.http_address().empty()) {
    std::printf("listening on %s://%s (OpenAI, Anthropic, web page)\n",
                options.tls ? "https" : "http", server.http_address().c_str());
  }
  std::fflush(stdout);
}

void WarnOfRisks(const ServerOptions& options) {
  ListenSafety safety = SafetyOf(options);
  safety.insecure = false;
  for (const std::string& address : {options.address, options.http_address}) {
    if (address.empty() || CheckListenAddress(address, safety).ok()) continue;
    LogWarning("--insecure: whoever can reach {} {}{}{}", address,
               safety.keys ? "" : "may use this server", safety.keys || safety.tls ? "" : ", and ",
               safety.tls ? "" : "may read what its clients say");
  }
}

}  // namespace tandem
