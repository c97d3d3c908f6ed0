#include "engine/prefix_tree.h"

#include <algorithm>

#include "core/status.h"
#include "gpu_attention/step_batch.h"

namespace tandem {
namespace {

int32_t Common(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<int32_t>(std::mismatch(a.begin(), a.begin() + most, b.begin()).first -
                              a.begin());
}

// Where `ids` are, or would be, among the children of `parent`.
auto LowerBound(const std::vector<CachedPage*>& children, std::span<const int32_t> ids) {
  return std::lower_bound(children.begin(), children.end(), ids,
                          [](const CachedPage* child, std::span<const int32_t> wanted) {
                            return std::ranges::lexicographical_compare(child->ids, wanted);
                          });
}

}  // namespace

CachedPage* PrefixTree::Root(const std::string& salt) const {
  const auto found = roots_.find(salt);
  return found == roots_.end() ? nullptr : found->second.get();
}

CachedPage* PrefixTree::Child(const CachedPage* parent, const PageHash& hash,
                              std::span<const int32_t> ids) const {
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end() || found->second->parent != parent) return nullptr;
  return std::ranges::equal(found->second->ids, ids) ? found->second : nullptr;
}

PrefixTree::Neighbour PrefixTree::Nearest(const CachedPage* parent,
                                          std::span<const int32_t> ids) const {
  // In order of ids, those that share most are the ones beside the place where `ids` would be.
  const auto& children = parent->children;
  const auto at = LowerBound(children, ids);
  Neighbour best;
  if (at != children.end()) best = {*at, Common((*at)->ids, ids)};
  if (at != children.begin())
    if (const int32_t common = Common((*(at - 1))->ids, ids); !best.page || common > best.common)
      best = {*(at - 1), common};
  return best;
}

CachedPage* PrefixTree::MakeRoot(const std::string& salt) {
  std::unique_ptr<CachedPage>& root = roots_[salt];
  if (root == nullptr) {
    root = std::make_unique<CachedPage>();
    root->salt = salt;
  }
  return root.get();
}

CachedPage* PrefixTree::Insert(CachedPage* parent, const PageHash& hash,
                               std::span<const int32_t> ids, int32_t page) {
  TANDEM_CHECK(by_page_[page] == nullptr, "a page is cached once");
  const bool full = ids.size() == kPageTokens;
  auto node = std::make_unique<CachedPage>();
  if (full && !by_hash_.try_emplace(hash, node.get()).second) {
    EraseIfEmptyRoot(parent);
    return nullptr;
  }
  node->parent = parent;
  node->page = page;
  node->position =
      parent->page < 0 ? 0 : parent->position + static_cast<int32_t>(parent->ids.size());
  node->hash = hash;
  node->ids.assign(ids.begin(), ids.end());
  parent->children.insert(LowerBound(parent->children, ids), node.get());
  by_page_[page] = std::move(node);
  return by_page_[page].get();
}

void PrefixTree::Erase(CachedPage* node) {
  TANDEM_CHECK(node->page >= 0 && node->children.empty(), "only a leaf can be erased");
  CachedPage* parent = node->parent;
  parent->children.erase(LowerBound(parent->children, node->ids));
  if (node->ids.size() == kPageTokens) by_hash_.erase(node->hash);
  by_page_[node->page].reset();
  EraseIfEmptyRoot(parent);
}

void PrefixTree::EraseIfEmptyRoot(const CachedPage* node) {
  if (node->page < 0 && node->children.empty()) roots_.erase(std::string(node->salt));
}

}  // namespace tandem
