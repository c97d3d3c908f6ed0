#include "service/api/response_store.h"

#include <algorithm>
#include <utility>

namespace tandem {
namespace {

constexpr int64_t kEntryOverhead = 256;

}  // namespace

int64_t ResponseStore::BytesOf(const StoredResponse& response) {
  return kEntryOverhead + static_cast<int64_t>(response.id.size() + response.response.size() +
                                               response.messages.size());
}

// A room holds some thousands at most: looking through it takes less than parsing one request.
ResponseStore::Place ResponseStore::PlaceOf(Room& room, const std::string& id) {
  return std::find_if(room.responses.begin(), room.responses.end(),
                      [&](const StoredResponse& response) { return response.id == id; });
}

void ResponseStore::Erase(Room& room, Place place) {
  room.bytes -= BytesOf(*place);
  room.responses.erase(place);
}

void ResponseStore::Keep(const std::string& caller, StoredResponse response) {
  const int64_t bytes = BytesOf(response);
  if (bytes > max_bytes_) return;
  std::lock_guard lock(mutex_);
  Room& room = rooms_[caller];
  room.responses.push_front(std::move(response));
  room.bytes += bytes;
  while (room.bytes > max_bytes_) Erase(room, std::prev(room.responses.end()));
}

std::optional<StoredResponse> ResponseStore::Find(const std::string& caller,
                                                  const std::string& id) {
  std::lock_guard lock(mutex_);
  Room& room = rooms_[caller];
  const Place place = PlaceOf(room, id);
  if (place == room.responses.end()) return std::nullopt;
  room.responses.splice(room.responses.begin(), room.responses, place);
  return *place;
}

bool ResponseStore::Delete(const std::string& caller, const std::string& id) {
  std::lock_guard lock(mutex_);
  Room& room = rooms_[caller];
  const Place place = PlaceOf(room, id);
  if (place == room.responses.end()) return false;
  Erase(room, place);
  return true;
}

}  // namespace tandem
