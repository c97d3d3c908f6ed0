// The emulated counterpart of gpu_attention/cuda/mma.cuh.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/bf16.h"
#include "gpu_attention/emulation/checked_pointer.h"
#include "gpu_attention/emulation/thread_context.h"

namespace tandem::emulated {

void Mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
              Where where = Where::current());
void LoadMatrix4(uint32_t (&r)[4], Shared<const bf16> row, Where where = Where::current());
void LoadMatrix4Transposed(uint32_t (&r)[4], Shared<const bf16> row,
                           Where where = Where::current());

template <class T>
void CopyAsync16(Shared<T> to, Global<const std::type_identity_t<T>> from, bool valid = true) {
  BeginCopy16(to.Access(16, 16), valid ? from.Access(16, 16) : nullptr);
}
inline void CopyAsyncCommit() { CommitCopies(); }
template <int kPending>
void CopyAsyncWait() {
  WaitForCopies(kPending);
}

}  // namespace tandem::emulated
