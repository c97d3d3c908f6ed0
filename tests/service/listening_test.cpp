// What a server listens on: what it was told to, on this machine only, and nothing else.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "service/server.h"
#include "tests/service/fake_engine.h"
#include "tests/service/two_keys.h"

namespace tandem {
namespace {

// Inodes of this process's sockets.
std::set<std::string> OwnSockets() {
  std::set<std::string> inodes;
  DIR* dir = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(dir)) {
    char target[64] = {};
    const std::string path = std::string("/proc/self/fd/") + entry->d_name;
    if (readlink(path.c_str(), target, sizeof target - 1) < 0) continue;
    const std::string text = target;
    if (text.starts_with("socket:[")) inodes.insert(text.substr(8, text.size() - 9));
  }
  closedir(dir);
  return inodes;
}

// IPv4 in IPv6's clothes is IPv4.
std::string Plain(const std::string& table, const std::string& local) {
  const std::string mapped = "0000000000000000FFFF0000";
  if (!local.starts_with(mapped)) return table + " " + local;
  return table.substr(0, 3) + " " + local.substr(mapped.size());
}

// "tcp 0100007F:1F90" and the like for all that this process listens on (UDP: that is open at all);
// addresses as the kernel writes them.
std::set<std::string> OwnListeners() {
  const std::set<std::string> own = OwnSockets();
  std::set<std::string> listeners;
  for (const std::string table : {"tcp", "tcp6", "udp", "udp6", "raw", "raw6"}) {
    std::ifstream file("/proc/self/net/" + table);
    std::string line;
    std::getline(file, line);  // the heading
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      std::string number, local, remote, state, queues, timer, retransmits, user, timeout, inode;
      fields >> number >> local >> remote >> state >> queues >> timer >> retransmits >> user >>
          timeout >> inode;
      const bool listens = table.starts_with("tcp") ? state == "0A" : true;
      if (listens && own.contains(inode)) listeners.insert(Plain(table, local));
    }
  }
  std::ifstream file("/proc/self/net/unix");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string number, references, protocol, flags, type, state, inode, path;
    fields >> number >> references >> protocol >> flags >> type >> state >> inode >> path;
    if (flags == "00010000" && own.contains(inode)) listeners.insert("unix " + path);
  }
  return listeners;
}

std::string OnLoopback(const std::string& address) {
  char port[8];
  std::snprintf(port, sizeof port, "%04X",
                static_cast<unsigned>(std::stoi(address.substr(address.rfind(':') + 1))));
  return std::string("tcp 0100007F:") + port;
}

TEST(Listening, OnlyWhereItWasTold) {
  FakeEngine engine{{}};
  ASSERT_TRUE(OwnListeners().empty());
  {
    auto server = Server::Start(engine, {.address = "127.0.0.1:0", .http_address = "127.0.0.1:0"});
    ASSERT_TRUE(server.ok()) << server.status();
    EXPECT_THAT(OwnListeners(),
                testing::UnorderedElementsAre(OnLoopback((*server)->address()),
                                              OnLoopback((*server)->http_address())));
  }
  EXPECT_TRUE(OwnListeners().empty()) << "nothing stays open";
}

TEST(Listening, AUnixSocketIsNoPort) {
  FakeEngine engine{{}};
  const TempDir dir;
  const auto server = Server::Start(engine, {.address = "unix:" + dir.File("s")});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT(OwnListeners(), testing::ElementsAre("unix " + dir.File("s")));
}

TEST(Listening, OtherMachinesOnlyWithKeysAndTls) {
  FakeEngine engine{{}};
  const TwoKeys two_keys;
  for (const char* address : {"0.0.0.0:0", "[::]:0", "example.org:1", ":0"}) {
    for (const bool keys : {false, true}) {
      const ApiKeys used = keys ? two_keys.keys : ApiKeys();
      for (const bool http : {false, true}) {
        const auto server = Server::Start(
            engine,
            {.address = http ? "" : address, .http_address = http ? address : "", .keys = used});
        EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
      }
    }
  }
  EXPECT_TRUE(OwnListeners().empty());
}

}  // namespace
}  // namespace tandem
