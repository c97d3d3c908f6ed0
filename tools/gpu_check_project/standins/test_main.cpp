// Runs the tests of the stand-in for GoogleTest.
//
//   gpu_check_tests [--list | SUITE[.NAME]...]
//
// --list prints the suites. Last line: N passed, N failed, N skipped. Exit code 1 if one failed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>

#include "gtest/gtest.h"

namespace testing::standin {
namespace {

struct Entry {
  std::string suite, name;
  Maker maker;
};
std::vector<Entry>& Entries() {
  static std::vector<Entry> entries;
  return entries;
}

// Of the running test.
std::mutex mutex;
int failures = 0, fatal_failures = 0;
bool skipped = false;
std::vector<std::string> traces;

bool Wanted(const Entry& entry, int argc, char** argv) {
  return argc < 2 || std::any_of(argv + 1, argv + argc, [&](const std::string& filter) {
           return filter == entry.suite || filter == entry.suite + "." + entry.name;
         });
}

void Run(Test& test) {
  try {
    test.SetUp();
    if (!skipped && fatal_failures == 0) test.TestBody();
    test.TearDown();
  } catch (const std::exception& error) {
    Fail("an exception", 0, error.what(), true);
  }
}

}  // namespace

void Fail(const char* file, int line, const std::string& text, bool fatal) {
  std::lock_guard lock(mutex);
  ++failures;
  if (fatal) ++fatal_failures;
  if (failures > 20) return;  // of one test
  std::printf("  %s:%d: %s\n", file, line, text.c_str());
  for (const std::string& trace : traces) std::printf("    in %s\n", trace.c_str());
}
void Skip(const std::string& text) {
  skipped = true;
  std::printf("  skipped: %s\n", text.c_str());
}
int FatalFailures() {
  std::lock_guard lock(mutex);
  return fatal_failures;
}
void PushTrace(const std::string& text) {
  std::lock_guard lock(mutex);
  traces.push_back(text);
}
void PopTrace() {
  std::lock_guard lock(mutex);
  traces.pop_back();
}

bool Register(const char* suite, const char* name, Maker maker) {
  Entries().push_back({suite, name, maker});
  return true;
}

int Main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--list") {
    std::vector<std::string> suites;
    for (const Entry& entry : Entries()) suites.push_back(entry.suite);
    std::sort(suites.begin(), suites.end());
    suites.erase(std::unique(suites.begin(), suites.end()), suites.end());
    for (const std::string& suite : suites) std::printf("%s\n", suite.c_str());
    return 0;
  }
  int n_passed = 0, n_failed = 0, n_skipped = 0;
  for (const Entry& entry : Entries()) {
    if (!Wanted(entry, argc, argv)) continue;
    failures = fatal_failures = 0;
    skipped = false;
    const auto begin = std::chrono::steady_clock::now();
    Run(*entry.maker());
    const double ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    ++(failures > 0 ? n_failed : skipped ? n_skipped : n_passed);
    std::printf("%-4s %s.%s (%.0f ms)\n",
                failures > 0 ? "FAIL"
                : skipped    ? "skip"
                             : "ok",
                entry.suite.c_str(), entry.name.c_str(), ms);
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed, %d skipped\n", n_passed, n_failed, n_skipped);
  return n_failed > 0 ? 1 : 0;
}

}  // namespace testing::standin

bool testing::Test::IsSkipped() { return testing::standin::skipped; }

int main(int argc, char** argv) { return testing::standin::Main(argc, argv); }
