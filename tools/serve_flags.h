// The flags of `tandem serve` that are about clients: addresses, keys, TLS, logs, defaults.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/server.h"
#include "tools/engine_flags.h"

namespace tandem {

struct ServeFlags {
  std::string grpc = "127.0.0.1:50051", http = "127.0.0.1:8080";  // or "off"
  std::string name;                                               // of the model, "": its folder's
  std::string keys, tls_cert, tls_key;                            // files
  std::vector<std::string> allow_hosts;
  bool insecure = false;
  std::string access_log;  // file, "-", or none
  double drain_s = 30;
  std::string batch_dir;  // "": no files and batches
  int batch_gib = 64;     // of all their files together
  bool no_thinking_default = false, no_normalise = false, log_prompts = false;

  void AddTo(CLI::App* sub);
  PromptPolicy Policy() const;
  // Reads keys and certificate, and checks the addresses.
  absl::StatusOr<ServerOptions> ToOptions(const EngineFlags& engine) const;
};

// What, besides the model, decides about answers: in words, for BatchOptions::answered_by.
std::string AnswerSettings(const EngineFlags& engine, const PromptPolicy& policy);
// As APIs report a model: its folder's name.
std::string ModelNameOf(const std::string& model_dir);

// On stdout, for people and scripts: one line for each address, gRPC first.
void PrintAddresses(const Server& server, const ServerOptions& options);
// In the log: what --insecure means here.
void WarnOfRisks(const ServerOptions& options);

}  // namespace tandem
