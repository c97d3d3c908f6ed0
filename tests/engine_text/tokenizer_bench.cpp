// Encoding speed on one core: tokenizer_bench MODEL [FILE...]
// Without files: made-up English, code, Chinese, white space and long runs, and all of them mixed.
// One line per text: name | MB/s of CPU time (median, slowest, fastest of 7) | tokens | hash of the
// ids.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <random>
#include <utility>

#include "engine/text/tokenizer.h"

namespace tandem {
namespace {

using NamedText = std::pair<std::string, std::string>;
constexpr size_t kTextBytes = 4'000'000;

const char* const kEnglish[] = {
    "the",     "of",        "and",        "a",           "to",        "in",       "is",
    "it's",    "that",      "was",        "For",         "with",      "expert",   "routing",
    "memory,", "bandwidth", "latency",    "2,048",       "tokens.",   "However,", "measurement",
    "shows",   "quickly",   "unexpected", "(see",        "below)",    "don't",    "Professor",
    "thermal", "layer",     "precision",  "granularity", "sought",    "remnants", "of",
    "which",   "they'd",    "written",    "1984",        "carefully."};
const char* const kCode[] = {"for (int i = 0; i < n; ++i) {\n",
                             "    sum += weights[i] * x[i];\n",
                             "  return absl::OkStatus();\n",
                             "}\n\n",
                             "#include <vector>\n",
                             "\tif err != nil {\n\t\treturn nil, err\n\t}\n",
                             "def forward(self, hidden_states, attention_mask=None):\n",
                             "        self.q_proj = nn.Linear(7168, 1536, bias=False)\n",
                             "const auto& [key, value] : config.items()\n",
                             "// TODO: 0x7fff'ffff\n"};
const char* const kChinese[] = {"的", "一", "是", "在", "不", "了",   "有",   "和", "人", "这",
                                "中", "大", "为", "上", "个", "国",   "我",   "以", "要", "他",
                                "时", "来", "用", "们", "生", "到",   "作",   "地", "于", "出",
                                "就", "分", "模", "型", "内", "存",   "专",   "家", "路", "由",
                                "，", "。", "、", "计", "算", "速度", "注意", "力"};

template <size_t n>
std::string Random(const char* const (&items)[n], const char* between, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < kTextBytes) {
    text += items[random() % n];
    text += random() % 40 == 0 ? "\n\n" : between;
  }
  return text;
}

std::string RandomWhiteSpace(uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < kTextBytes) {
    text.append(1 + random() % 60, " \t\n "[random() % 4]);
    if (random() % 4 == 0) text += "x";
  }
  return text;
}

// Unbroken letters and digits, as in encoded data.
std::string RandomLongRuns(uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < kTextBytes) {
    for (int n = 30'000; n > 0; --n) text += "ABCDEFGHabcdefghijklmnopqrstuvwxyz"[random() % 34];
    text += '\n';
  }
  return text;
}

// Blocks of about 2,000 bytes of every text in turn.
std::string Mix(const std::vector<NamedText>& texts) {
  std::string mixed;
  for (size_t at = 0; mixed.size() < kTextBytes; at += 2'000) {
    for (const NamedText& text : texts) mixed += text.second.substr(at, 2'000);
  }
  return mixed;
}

std::vector<NamedText> MadeUpTexts() {
  std::vector<NamedText> texts = {{"english", Random(kEnglish, " ", 1)},
                                  {"code", Random(kCode, "", 2)},
                                  {"chinese", Random(kChinese, "", 3)},
                                  {"white space", RandomWhiteSpace(4)},
                                  {"long runs", RandomLongRuns(5)}};
  texts.emplace_back("mixed", Mix(texts));
  return texts;
}

std::vector<NamedText> FileTexts(int n_files, char** paths) {
  std::vector<NamedText> texts;
  for (int i = 0; i < n_files; ++i) {
    std::ifstream file(paths[i], std::ios::binary);
    texts.emplace_back(paths[i], std::string(std::istreambuf_iterator<char>(file), {}));
  }
  return texts;
}

// CPU time of this process, so that other work on the machine hardly counts.
double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void Measure(const Tokenizer& tokenizer, const NamedText& text) {
  std::vector<double> mb_per_s;
  std::vector<int32_t> ids;
  for (int run = 0; run < 7; ++run) {
    const double begin = CpuSeconds();
    ids = tokenizer.Encode(text.second, /*parse_special=*/false);
    mb_per_s.push_back(static_cast<double>(text.second.size()) / 1e6 / (CpuSeconds() - begin));
  }
  std::sort(mb_per_s.begin(), mb_per_s.end());
  uint64_t hash = 1469598103934665603u;
  for (const int32_t id : ids) hash = (hash ^ static_cast<uint32_t>(id)) * 1099511628211u;
  std::printf("%-14s | %7.1f MB/s (%.1f to %.1f) | %zu tokens | %016lx\n", text.first.c_str(),
              mb_per_s[3], mb_per_s.front(), mb_per_s.back(), ids.size(), hash);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_bench MODEL [FILE...]\n");
    return 2;
  }
  const double begin = tandem::CpuSeconds();
  const auto tokenizer = tandem::Tokenizer::Load(argv[1]);
  const double load_seconds = tandem::CpuSeconds() - begin;
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  std::printf("load           | %7.3f s\n", load_seconds);
  for (const auto& text : argc > 2 ? tandem::FileTexts(argc - 2, argv + 2) : tandem::MadeUpTexts())
    tandem::Measure(**tokenizer, text);
}
