// write_profile_pages FOLDER: pages of made-up profiles, for profile_page_test.py to look at.
#include <cstdio>
#include <fstream>

#include "placement/profile_page.h"
#include "tests/placement/sample_profile.h"

namespace tandem {
namespace {

bool WritePage(const std::string& path, const ExpertProfile& profile, const std::string& title) {
  std::ofstream file(path, std::ios::binary);
  file << ProfilePage(profile, title);
  return static_cast<bool>(file.flush());
}

bool WritePages(const std::string& folder) {
  const SampleOptions small = {
      .layers = 5, .experts = 16, .top_k = 2, .prefill_tokens = 60, .decode_tokens = 600};
  SampleOptions hostile = small, one = small;
  hostile.labels = {"</script><b>bold</b>", "\"quoted\" & 'more'", "<!--<script>", "\xff\xfe", ""};
  one.labels = {"only"};
  one.held_out = false;
  ExpertProfile empty = MakeSampleProfile({.layers = 5, .experts = 16, .top_k = 2, .labels = {}});
  return WritePage(folder + "/large.html", MakeSampleProfile({}), "k2.profile") &&
         WritePage(folder + "/hostile.html", MakeSampleProfile(hostile),
                   "</title><img src=x>{{data}}") &&
         WritePage(folder + "/one.html", MakeSampleProfile(one), "one.profile") &&
         WritePage(folder + "/empty.html", empty, "empty.profile");
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc != 2 || !tandem::WritePages(argv[1])) {
    std::fprintf(stderr, "write_profile_pages FOLDER: cannot write there\n");
    return 1;
  }
  return 0;
}
