#include "core/cpu_features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace tandem {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool Bit(uint32_t value, int bit) { return (value >> bit) & 1u; }

// XCR0: which register files the system saves. REQUIRES: CPUID says OSXSAVE.
uint64_t ReadXcr0() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux hands out AMX tile data on request only.
bool RequestAmxTiles() {
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}

std::string Brand() {
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = Cpuid(0x80000002u + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  std::string brand(text);
  brand.erase(0, brand.find_first_not_of(' '));
  brand.erase(brand.find_last_not_of(' ') + 1);
  return brand;
}

CpuFeatures Detect() {
  CpuFeatures f;
  f.brand = Brand();
  const Registers l1 = Cpuid(1), l7 = Cpuid(7), l7_1 = Cpuid(7, 1);
  if (!Bit(l1.ecx, 27)) return f;  // OSXSAVE
  const uint64_t xcr0 = ReadXcr0();
  const bool ymm = (xcr0 & 0x6) == 0x6, zmm = (xcr0 & 0xe6) == 0xe6, tiles = (xcr0 >> 17 & 3) == 3;
  f.avx2 = ymm && Bit(l1.ecx, 12) && Bit(l1.ecx, 29) && Bit(l7.ebx, 5);
  f.avx_vnni = f.avx2 && Bit(l7_1.eax, 4);
  f.avx512 =
      f.avx2 && zmm && Bit(l7.ebx, 16) && Bit(l7.ebx, 17) && Bit(l7.ebx, 30) && Bit(l7.ebx, 31);
  f.avx512_vnni = f.avx512 && Bit(l7.ecx, 11);
  f.avx512_bf16 = f.avx512 && Bit(l7_1.eax, 5);
  const bool amx = tiles && Bit(l7.edx, 24) && RequestAmxTiles();
  f.amx_int8 = amx && Bit(l7.edx, 25);
  f.amx_bf16 = amx && Bit(l7.edx, 22);
  return f;
}

}  // namespace

const CpuFeatures& DetectCpu() {
  static const CpuFeatures features = Detect();
  return features;
}

std::string Describe(const CpuFeatures& f) {
  std::string names;
  auto add = [&](bool present, const char* name) {
    if (present) names += (names.empty() ? "" : " ") + std::string(name);
  };
  add(f.avx2, "avx2");
  add(f.avx_vnni, "avx_vnni");
  add(f.avx512, "avx512");
  add(f.avx512_vnni, "avx512_vnni");
  add(f.avx512_bf16, "avx512_bf16");
  add(f.amx_int8, "amx_int8");
  add(f.amx_bf16, "amx_bf16");
  return names.empty() ? "baseline" : names;
}

}  // namespace tandem
