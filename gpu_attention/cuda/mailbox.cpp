#include "gpu_attention/cuda/mailbox.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "core/spin.h"
#include "gpu_attention/cuda/mailbox_kernels.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr size_t kLine = 64;  // bytes
constexpr size_t kSlotAlignment = 256;

uint32_t LoadWord(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire);
}
void StoreWord(uint32_t* word, uint32_t value) {
  std::atomic_ref<uint32_t>(*word).store(value, std::memory_order_release);
}

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

absl::StatusOr<Mailbox> Mailbox::Create(const MailboxShape& shape,
                                        std::chrono::nanoseconds timeout) {
  TANDEM_CHECK(shape.parts >= 1 && shape.parts <= 2, "a step has one part or two");
  Mailbox mailbox;
  mailbox.shape_ = shape;
  mailbox.timeout_ = timeout;
  const size_t words = kFirstBell + 2 * size_t{2} * shape.layers;
  TANDEM_ASSIGN_OR_RETURN(mailbox.control_, PinnedBuffer::Allocate(words * kLine, "doorbells"));
  size_t bytes = 0;
  const auto take = [&bytes](size_t size) {
    const size_t offset = bytes;
    bytes += (size + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
    return offset;
  };
  const size_t rows = shape.rows;
  for (int part = 0; part < shape.parts; ++part) {
    Slot& slot = mailbox.slot_[part];
    slot.hidden = take(rows * shape.hidden * sizeof(bf16));
    slot.expert_ids = take(rows * shape.top_k * sizeof(int32_t));
    slot.weights = take(rows * shape.top_k * sizeof(float));
    slot.answer = take(rows * shape.hidden * sizeof(float));
  }
  TANDEM_ASSIGN_OR_RETURN(mailbox.slots_, PinnedBuffer::Allocate(bytes, "mailbox"));
  TANDEM_ASSIGN_OR_RETURN(mailbox.arrived_, DeviceBuffer::Allocate(sizeof(int32_t), "mailbox"));
  TANDEM_ASSIGN_OR_RETURN(Stream stream, Stream::Create());
  stream.FillZero(mailbox.arrived_.as<int32_t>(), 1);
  TANDEM_RETURN_IF_ERROR(stream.Synchronize());
  return mailbox;
}

size_t Mailbox::BellOffset(bool answered, LayerId layer, int part) const {
  return (kFirstBell + 4 * size_t(layer.value) + 2 * part + answered) * kLine;
}

void Mailbox::BeginStep(uint32_t step) {
  step_ = step;
  StoreWord(HostWord(kAbandoned * kLine), 0);
  StoreWord(HostWord(kStuck * kLine), 0);
}

absl::Status Mailbox::AwaitRows(LayerId layer, int part, const Stream& stream) {
  uint32_t* const bell = HostWord(BellOffset(false, layer, part));
  const auto begin = std::chrono::steady_clock::now();
  const std::chrono::nanoseconds patience = timeout_ + timeout_ / 4;
  absl::Status status;
  constexpr int kSpinsPerLook = 1 << 10;
  int spins = 0;
  SpinUntil(kSpinsPerLook, [&] {
    if (LoadWord(bell) == step_) return true;
    if (++spins % kSpinsPerLook != 0) return false;
    status = stream.status();
    if (status.ok()) status = CheckDevice();
    if (status.ok() && std::chrono::steady_clock::now() - begin > patience) {
      status = absl::UnavailableError(
          absl::StrCat("layer ", layer.value, ": the GPU did not hand over its rows within ",
                       Seconds(patience), " s (step ", step_, ", part ", part, ")"));
    }
    return !status.ok();
  });
  // A GPU that gave up an earlier layer still rings for the later ones.
  return status.ok() ? CheckDevice() : status;
}

RoutedTokens Mailbox::Rows(int part, int32_t tokens) const {
  TANDEM_CHECK(tokens <= shape_.rows, "a part has at most `rows` rows");
  const Slot& slot = slot_[part];
  std::byte* const base = slots_.data();
  return {.hidden = {reinterpret_cast<const bf16*>(base + slot.hidden), {tokens, shape_.hidden}},
          .expert_ids = {reinterpret_cast<const int32_t*>(base + slot.expert_ids),
                         {tokens, shape_.top_k}},
          .weights = {reinterpret_cast<const float*>(base + slot.weights), {tokens, shape_.top_k}}};
}

View<float, 2> Mailbox::Answer(int part, int32_t tokens) const {
  return {reinterpret_cast<float*>(slots_.data() + slot_[part].answer), {tokens, shape_.hidden}};
}

void Mailbox::RingAnswered(LayerId layer, int part) {
  StoreWord(HostWord(BellOffset(true, layer, part)), step_);
}

void Mailbox::Abandon() { StoreWord(HostWord(kAbandoned * kLine), 1); }

absl::Status Mailbox::CheckDevice() const {
  const uint32_t stuck = LoadWord(HostWord(kStuck * kLine));
  if (stuck == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("layer ", (stuck - 1) / 2, ": the CPU's experts did not answer within ",
                   Seconds(timeout_), " s (step ", step_, ", part ", (stuck - 1) % 2, ")"));
}

void Mailbox::Publish(Stream& stream, LayerId layer, int part, int32_t tokens,
                      const PublishedRows& rows, Global<const uint32_t> step) {
  const Slot& slot = slot_[part];
  const int64_t elems = int64_t{tokens} * shape_.hidden;
  const int32_t choices = tokens * shape_.top_k;
  PublishRows(stream, {.hidden_elems = elems,
                       .choices = choices,
                       .hidden = rows.hidden,
                       .expert_ids = rows.expert_ids,
                       .weights = rows.weights,
                       .to_hidden = slots_.device<bf16>(slot.hidden, elems),
                       .to_expert_ids = slots_.device<int32_t>(slot.expert_ids, choices),
                       .to_weights = slots_.device<float>(slot.weights, choices),
                       .arrived = arrived_.as<int32_t>(),
                       .step = step,
                       .bell = DeviceWord(BellOffset(false, layer, part))});
}

void Mailbox::AddAnswer(Stream& stream, LayerId layer, int part, int32_t tokens, Global<float> h,
                        Global<const float> own, Global<const uint32_t> step) {
  AwaitAnswer(stream, {.step = step,
                       .bell = DeviceWord(BellOffset(true, layer, part)),
                       .abandoned = DeviceWord(kAbandoned * kLine),
                       .stuck = DeviceWord(kStuck * kLine),
                       .code = 1 + 2 * static_cast<uint32_t>(layer.value) + part,
                       .timeout_ns = static_cast<uint64_t>(timeout_.count())});
  const int64_t elems = int64_t{tokens} * shape_.hidden;
  AddRows(stream, {.elems = elems,
                   .h = h,
                   .answer = slots_.device<float>(slot_[part].answer, elems),
                   .own = own});
}

}  // namespace tandem::TANDEM_GPU
