// tandem serve: loads a model and serves it over gRPC and HTTP until Ctrl-C.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>

#include "core/log.h"
#include "service/server.h"
#include "tools/command.h"
#include "tools/config_file.h"
#include "tools/engine_flags.h"
#include "tools/interrupts.h"
#include "tools/serve_flags.h"

namespace tandem {
namespace {

struct Options {
  EngineFlags engine;
  ServeFlags serve;
};

// Waits for Ctrl-C; a second one ends the process at once.
class UntilInterrupted {
 public:
  void Wait() { first_.get_future().wait(); }

 private:
  std::promise<void> first_;
  Interrupts interrupts_{[this](int count) {
    if (count == 1) first_.set_value();
    if (count > 1) std::_Exit(130);
  }};
};

int Serve(const Options& options) {
  auto server_options = options.serve.ToOptions(options.engine);  // before a minute of loading
  if (!server_options.ok()) return Fail(server_options.status());
  EngineOptions engine_options = options.engine.ToOptions();
  const auto start = PlanForStart(options.engine.plan, engine_options);
  if (!start.ok()) return Fail(start.status());
  if (start->obeyed) engine_options.plan = start->plan;
  const bool tells = start->plan != nullptr && !options.engine.quiet;
  if (tells) std::fputs(PlanSummary(*start).c_str(), stderr);
  auto engine = Engine::Create(engine_options);
  if (!engine.ok()) return Fail(engine.status());
  auto server = Server::Start(**engine, *server_options);
  if (!server.ok()) return Fail(server.status());
  WarnOfRisks(*server_options);
  UntilInterrupted until_interrupted;
  PrintAddresses(**server, *server_options);

  until_interrupted.Wait();
  LogInfo("shutting down; open answers have {} s to end (Ctrl-C again: at once)",
          options.serve.drain_s);
  (*server)->Shutdown(
      std::chrono::milliseconds(static_cast<int64_t>(options.serve.drain_s * 1000)));
  if (tells) std::fputs(MeasuredAgainst(*start->plan, (*engine)->stats()).c_str(), stderr);
  return 0;
}

}  // namespace

void AddServe(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.Add(
      "serve", "serve MODEL over gRPC (tandem.v1) and HTTP (OpenAI, Anthropic, web page)",
      "  tandem serve /models/kimi-k2.6\n"
      "  tandem serve tools/demo/model --grpc off --http 127.0.0.1:0\n"
      "  tandem serve k2 --http 0.0.0.0:8443 --keys keys --tls-cert cert.pem --tls-key key.pem\n"
      "  tandem serve --config /etc/tandem/tandem.toml     keys: names of flags, and model\n"
      "  (docs/operations.md, tools/deploy/tandem.toml)");
  TakeConfigFile(sub);
  options->engine.AddTo(sub);
  options->engine.AddPlanTo(sub);
  options->engine.AddBatchStepTo(sub);
  options->serve.AddTo(sub);
  commands.OnRun(sub, [options] { return Serve(*options); });
}

}  // namespace tandem
