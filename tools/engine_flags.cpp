#include "tools/engine_flags.h"

namespace tandem {

void EngineFlags::AddTo(CLI::App* sub, bool model_required) {
  auto* positional = sub->add_option("model", model, "checkpoint folder (Hugging Face layout)")
                         ->type_name("MODEL");
  if (model_required) positional->required();
  sub->add_option("--dense-dtype", dense_dtype, "how attention and other dense weights are held")
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->capture_default_str();
  sub->add_option(
         "--expert-activations", expert_activations,
         "precision of activations in the experts; int8x2 is exact to about 15 bits, bf16 has "
         "the reference's roundings")
      ->check(CLI::IsMember(ExpertActivationsNames()))
      ->capture_default_str();
  sub->add_option("--kernel", kernel, "force an expert kernel (see `tandem doctor`)");
  sub->add_option("--experts-memory", experts_memory,
                  "of a packed image: map computes from the page cache, copy reads into huge pages")
      ->check(CLI::IsMember({"auto", "map", "copy"}))
      ->capture_default_str();
  sub->add_option("--verify-experts", verify_experts,
                  "of a packed image: checksums before the first use (lazy), all at start (full)")
      ->check(CLI::IsMember({"off", "lazy", "full"}))
      ->capture_default_str();
  AddDeviceFlags(sub);
  sub->add_option("--threads", threads, "worker threads; 0: one per physical core")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  sub->add_option("--kv-tokens", kv_tokens,
                  "tokens the cache holds over all sequences; 0: by free RAM")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  sub->add_option("--max-step-tokens", max_step_tokens, "most tokens of one step (prefill chunk)")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--max-sequences", max_sequences, "sequences computed at once")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--max-queue", max_queue, "requests that may wait; more are refused")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  sub->add_flag("--no-prefix-cache", no_prefix_cache,
                "compute every prompt anew, whatever was computed before");
  sub->add_flag("-q,--quiet", quiet, "no progress output");
}

void EngineFlags::AddPlanTo(CLI::App* sub) {
  sub->add_option(
      "--plan", plan.plan,
      "set up as this file of `tandem plan -o` says; without it a plan is made at start");
  sub->add_option("--profile", plan.profile, "what the plan made at start is made from");
}

void EngineFlags::AddBatchStepTo(CLI::App* sub) {
  batch_step_ms = 40;
  sub->add_option("--batch-step-ms", batch_step_ms,
                  "batch work makes no step longer than this, so nobody else waits longer for it; "
                  "0: it fills every step, which is faster for it")
      ->check(CLI::Range(0.0, 3.6e6))
      ->capture_default_str();
  batch_idle_step_ms = 500;
  sub->add_option("--batch-idle-step-ms", batch_idle_step_ms,
                  "the same once nobody else has been there for ten seconds, if it is more")
      ->check(CLI::Range(0.0, 3.6e6))
      ->capture_default_str();
}

void EngineFlags::AddDeviceFlags(CLI::App* sub) {
  sub->add_option("--device", device, "what computes the dense side; emulated is for tests")
      ->check(CLI::IsMember({"auto", "cpu", "cuda", "emulated"}))
      ->capture_default_str();
  sub->add_flag("--force-emulated", force_emulated, "take the emulated GPU all the same");
  sub->add_option("--gpu-memory", gpu_memory_gib,
                  "GPU memory to use in all, in GiB; 0: what is free but 2 GiB")
      ->check(CLI::Range(0.0, 4096.0))
      ->capture_default_str();
  sub->add_option(
         "--kv-ram-tokens", kv_ram_tokens,
         "what has to leave the GPU's cache is kept in RAM, up to so many tokens, and copied "
         "back where it would be computed again; 0: not")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 36))
      ->capture_default_str();
  sub->add_option("--hot-experts", hot_experts_percent,
                  "percent of every layer's experts that are kept and computed on the GPU")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  sub->add_flag("--hot-experts-leave-ram", hot_experts_leave_ram,
                "keep hot experts on the GPU only: RAM and GPU memory add up");
  sub->add_option("--adapt", adapt,
                  "let the hot experts follow what decoding uses (on), or only log what would be "
                  "exchanged (suggest)")
      ->check(CLI::IsMember({"off", "suggest", "on"}))
      ->capture_default_str();
  sub->add_option(
         "--stream-experts", stream_experts,
         "long prompts: send experts to the GPU where that is faster (auto), or not, or all")
      ->check(CLI::IsMember({"auto", "never", "always"}))
      ->capture_default_str();
  sub->add_option("--stream-buffer", stream_buffer_gib, "GPU memory for sent experts, in GiB")
      ->check(CLI::Range(0.0, 1024.0))
      ->capture_default_str();
  sub->add_option("--micro-batches", micro_batches,
                  "decode: overlap GPU and CPU by taking a batch in two parts; auto measures")
      ->check(CLI::IsMember({"auto", "off", "on"}))
      ->capture_default_str();
  sub->add_option("--gpu-timeout", gpu_timeout_s,
                  "seconds that GPU and CPU wait for one another before a step is given up")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
}

DeviceOptions EngineFlags::ToDeviceOptions() const {
  DeviceOptions options;
  options.device = device == "cpu"        ? Device::kCpu
                   : device == "cuda"     ? Device::kCuda
                   : device == "emulated" ? Device::kEmulated
                                          : Device::kAuto;
  options.allow_emulated = takes_emulated || force_emulated;
  options.memory_bytes = static_cast<int64_t>(gpu_memory_gib * (int64_t{1} << 30));
  options.hot_fraction = hot_experts_percent / 100;
  options.hot_experts_leave_ram = hot_experts_leave_ram;
  options.adapt = adapt == "on"        ? AdaptMode::kOn
                  : adapt == "suggest" ? AdaptMode::kSuggest
                                       : AdaptMode::kOff;
  options.stream = stream_experts == "never"    ? StreamExperts::kNever
                   : stream_experts == "always" ? StreamExperts::kAlways
                                                : StreamExperts::kAuto;
  options.stream_buffer_bytes = static_cast<int64_t>(stream_buffer_gib * (int64_t{1} << 30));
  options.micro_batches = micro_batches == "off"  ? MicroBatches::kOff
                          : micro_batches == "on" ? MicroBatches::kOn
                                                  : MicroBatches::kAuto;
  options.timeout = std::chrono::nanoseconds(static_cast<int64_t>(gpu_timeout_s * 1e9));
  return options;
}

EngineOptions EngineFlags::ToOptions() const {
  EngineOptions options;
  options.model_dir = model;
  options.dense_dtype = dense_dtype == "int8" ? DenseDType::kInt8 : DenseDType::kBf16;
  options.expert_activations =
      ParseExpertActivations(expert_activations).value();  // checked by CLI
  options.kernel = kernel;
  options.expert_load.memory = experts_memory == "map"    ? ExpertsMemory::kMap
                               : experts_memory == "copy" ? ExpertsMemory::kCopy
                                                          : ExpertsMemory::kAuto;
  options.expert_load.verify = verify_experts == "off"    ? VerifyExperts::kOff
                               : verify_experts == "full" ? VerifyExperts::kFull
                                                          : VerifyExperts::kLazy;
  options.device = ToDeviceOptions();
  options.threads = threads;
  options.kv_tokens = kv_tokens;
  options.kv_ram_tokens = kv_ram_tokens;
  options.max_step_tokens = max_step_tokens;
  options.max_sequences = max_sequences;
  options.max_queue = max_queue;
  options.prefix_cache = !no_prefix_cache;
  options.batch_step_ms = batch_step_ms;
  options.batch_idle_step_ms = batch_idle_step_ms;
  options.show_progress = !quiet;
  return options;
}

}  // namespace tandem
