#include <future>
#include <memory>

#include "engine/engine.h"

namespace tandem {
namespace {

// The events of one generation, merged. Shared between the caller and the engine's thread.
struct Merged {
  GenerationEvent whole;
  std::promise<void> ended;

  void Add(const GenerationEvent& event) {
    whole.tokens.insert(whole.tokens.end(), event.tokens.begin(), event.tokens.end());
    whole.text += event.text;
    whole.usage = event.usage;
    if (!event.finish) return;
    whole.finish = event.finish;
    whole.stop_string = event.stop_string;
    whole.status = event.status;
    whole.divergence = event.divergence;
  }
};

}  // namespace

absl::StatusOr<GenerationEvent> RunToEnd(Engine& engine, GenerationRequest request) {
  const auto merged = std::make_shared<Merged>();
  auto forward = std::move(request.on_event);
  request.on_event = [merged, forward](const GenerationEvent& event) {
    merged->Add(event);
    try {
      if (forward) forward(event);
    } catch (...) {
      if (event.finish) merged->ended.set_value();
      throw;
    }
    if (event.finish) merged->ended.set_value();
  };
  TANDEM_RETURN_IF_ERROR(engine.Submit(std::move(request)).status());
  merged->ended.get_future().wait();
  return std::move(merged->whole);
}

}  // namespace tandem
