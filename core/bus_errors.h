// A mapped file that loses its bytes while it is used (cut short by somebody, a failing disk)
// raises SIGBUS, which would end the process without a word.
#pragma once

namespace tandem {

// From now on such an end is explained on stderr: which file, at which byte. Then the process exits
// with 1; nothing can be computed without those bytes.
void ExplainBusErrors();

}  // namespace tandem
