// The AMX kernels' loops on emulated tiles, over SIMDe.
#include "cpu_experts/kernel_amx.h"
#include "tests/cpu_experts/emulated_tiles.h"

namespace tandem {
namespace {

using test::EmulatedTiles;

// Every dot call must give the tiles back.
template <void (*kDot)(const DotArgs&)>
void Checked(const DotArgs& args) {
  TANDEM_CHECK(EmulatedTiles::released(), "the thread's tiles were released");
  kDot(args);
  TANDEM_CHECK(EmulatedTiles::released(), "a dot call releases the tiles");
}

constexpr ModeKernels Emulated(ModeKernels mode, void (*dot)(const DotArgs&)) {
  mode.dot = dot;
  return mode;
}
constexpr ModeKernels kInt8 =
    Emulated(kAmxIntegerMode<EmulatedTiles, 1>, Checked<AmxInt8<EmulatedTiles, 1>::Dot>);
constexpr ModeKernels kInt8x2 =
    Emulated(kAmxIntegerMode<EmulatedTiles, 2>, Checked<AmxInt8<EmulatedTiles, 2>::Dot>);
constexpr ModeKernels kBf16 =
    Emulated(kAmxBf16Mode<EmulatedTiles>, Checked<AmxBf16<EmulatedTiles>::Dot>);

}  // namespace

extern constinit const KernelTable kAmxEmulatedTable;
constinit const KernelTable kAmxEmulatedTable = {
    "amx_emulated", {&CpuFeatures::avx2}, {&kInt8, &kInt8x2, &kBf16}, AddWeighted<Base512>};

}  // namespace tandem
