// tandem serve: loads a model and serves it over gRPC until Ctrl-C.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "core/log.h"
#include "service/listen_address.h"
#include "service/server.h"
#include "tools/command.h"
#include "tools/engine_flags.h"
#include "tools/interrupts.h"

namespace tandem {
namespace {

struct Options {
  EngineFlags engine;
  std::string address = "127.0.0.1:50051";
  bool allow_remote = false;
  double drain_s = 30;
};

ServerOptions ToServerOptions(const Options& options) {
  ServerOptions server;
  server.address = options.address;
  server.allow_remote = options.allow_remote;
  const std::filesystem::path folder = std::filesystem::absolute(options.engine.model);
  server.model_name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  // The engine refuses first; the margin is for short calls such as Tokenize.
  server.limits.max_open_requests = options.engine.max_sequences + options.engine.max_queue + 64;
  return server;
}

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
  if (!options.allow_remote) {  // before a minute of loading
    if (const auto status = CheckLoopback(options.address); !status.ok()) return Fail(status);
  }
  EngineOptions engine_options = options.engine.ToOptions();
  const auto start = PlanForStart(options.engine.plan, engine_options);
  if (!start.ok()) return Fail(start.status());
  if (start->obeyed) engine_options.plan = start->plan;
  const bool tells = start->plan != nullptr && !options.engine.quiet;
  if (tells) std::fputs(PlanSummary(*start).c_str(), stderr);
  auto engine = Engine::Create(engine_options);
  if (!engine.ok()) return Fail(engine.status());
  auto server = Server::Start(**engine, ToServerOptions(options));
  if (!server.ok()) return Fail(server.status());
  if (options.allow_remote) {
    LogWarning(
        "--allow-remote: whoever can reach {} may use this server; it asks for no key and does "
        "not encrypt",
        (*server)->address());
  }
  UntilInterrupted until_interrupted;
  std::printf("listening on %s (gRPC tandem.v1)\n", (*server)->address().c_str());
  std::fflush(stdout);

  until_interrupted.Wait();
  LogInfo("shutting down; open answers have {} s to end (Ctrl-C again: at once)", options.drain_s);
  (*server)->Shutdown(std::chrono::milliseconds(static_cast<int64_t>(options.drain_s * 1000)));
  if (tells) std::fputs(MeasuredAgainst(*start->plan, (*engine)->stats()).c_str(), stderr);
  return 0;
}

}  // namespace

void AddServe(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.Add("serve", "serve MODEL over gRPC (tandem.v1)",
                               "  tandem serve /models/kimi-k2.6\n"
                               "  tandem serve tools/demo/model --grpc 127.0.0.1:0\n"
                               "  tandem serve k2 --dense-dtype int8 --max-sequences 8");
  options->engine.AddTo(sub);
  options->engine.AddPlanTo(sub);
  sub->add_option("--grpc", options->address, "listen there; port 0 picks a free one")
      ->type_name("ADDR")
      ->capture_default_str();
  sub->add_flag("--allow-remote", options->allow_remote,
                "allow an address that other machines can reach: NO keys, NO encryption");
  sub->add_option("--drain", options->drain_s, "seconds that open answers get at the end")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  commands.OnRun(sub, [options] { return Serve(*options); });
}

}  // namespace tandem
