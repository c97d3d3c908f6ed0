// Batches as messages of tandem.v1.
#pragma once

#include "core/status.h"
#include "service/batch/batch_queue.h"
#include "tandem/v1/batch.pb.h"

namespace tandem {

void Fill(const BatchView& batch, v1::BatchInfo& info);

// Without the input's id, if its lines come in the stream.
NewBatch ToNewBatch(const v1::NewBatch& message);

}  // namespace tandem
