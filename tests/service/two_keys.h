// Keys for tests of servers: one of a user, one of an admin, read from a file as a server reads it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "service/access/api_keys.h"
#include "tests/engine_checkpoint/files.h"

namespace tandem {

struct TwoKeys {
  TwoKeys() {
    ApiKeys::Entry user_entry, admin_entry;
    std::tie(user, user_entry) = ApiKeys::Make("user", false, {});
    std::tie(admin, admin_entry) = ApiKeys::Make("admin", true, {});
    const TempDir dir;
    WriteFile(dir.File("keys"),
              ApiKeys::ToLine(user_entry) + "\n" + ApiKeys::ToLine(admin_entry) + "\n");
    const auto loaded = ApiKeys::Load(dir.File("keys"));
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    if (loaded.ok()) keys = *loaded;
  }

  std::string user, admin;  // as clients present them
  ApiKeys keys;
};

}  // namespace tandem
