#include "service/api/random_id.h"

#include <openssl/rand.h>

#include <vector>

#include "core/status.h"

namespace tandem {

std::string RandomId(int length) {
  constexpr char kAlphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  constexpr unsigned kLetters = sizeof(kAlphabet) - 1;
  std::string id;
  std::vector<unsigned char> bytes(length);
  while (id.size() < static_cast<size_t>(length)) {
    TANDEM_CHECK(RAND_bytes(bytes.data(), length) == 1, "the system gives random bytes");
    for (const unsigned char byte : bytes) {
      if (byte >= 256 / kLetters * kLetters) continue;  // else the first letters come more often
      if (id.size() < static_cast<size_t>(length)) id.push_back(kAlphabet[byte % kLetters]);
    }
  }
  return id;
}

}  // namespace tandem
