#include "core/bus_errors.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tandem {
namespace {

// All below is called in a signal handler: no allocation, no library that may hold a lock.

void Say(const char* text) { [[maybe_unused]] const auto n = write(2, text, std::strlen(text)); }

void SayNumber(uint64_t number) {
  char digits[24];
  char* at = digits + sizeof(digits) - 1;
  *at = '\0';
  do *--at = static_cast<char>('0' + number % 10);
  while (number /= 10);
  Say(at);
}

// One line of /proc/self/maps: begin-end perms offset dev inode path.
struct Mapping {
  uint64_t begin = 0, end = 0, offset = 0;
  const char* path = "";
};

uint64_t Hex(const char*& text) {
  char* rest = nullptr;
  const uint64_t value = strtoull(text, &rest, 16);
  text = rest;
  return value;
}

Mapping ParseLine(const char* text) {
  Mapping mapping;
  mapping.begin = Hex(text);
  mapping.end = Hex(++text);
  text += std::strlen(" r--p ");
  mapping.offset = Hex(text);
  for (int field = 0; field < 3; ++field) {  // device, inode, blanks
    while (*text == ' ') ++text;
    if (field < 2)
      while (*text != ' ' && *text != '\0') ++text;
  }
  mapping.path = text;
  return mapping;
}

// Calls `visit` with each line until it returns true.
template <class Visit>
void EachLine(int fd, const Visit& visit) {
  static char line[4096 + 256];
  size_t length = 0;
  for (char byte; read(fd, &byte, 1) == 1;) {
    if (byte != '\n') {
      if (length + 1 < sizeof(line)) line[length++] = byte;
      continue;
    }
    line[length] = '\0';
    length = 0;
    if (visit(ParseLine(line))) return;
  }
}

void OnBusError(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uint64_t>(info->si_addr);
  const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  Say("fatal: a mapped file lost its bytes while it was used");
  EachLine(fd, [&](const Mapping& mapping) {
    if (address < mapping.begin || address >= mapping.end) return false;
    Say(": ");
    Say(mapping.path);
    Say(", at byte ");
    SayNumber(mapping.offset + address - mapping.begin);
    return true;
  });
  Say("; was it cut short, or does the disk fail?\n");
  _exit(1);
}

}  // namespace

void ExplainBusErrors() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace tandem
