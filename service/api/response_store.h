// Responses that clients may come back to (`store`, previous_response_id), in memory only: each
// caller has its own room, in which the least recently used go first. Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace tandem {

struct StoredResponse {
  std::string id;
  std::string response;  // the object, as JSON text
  std::string messages;  // the conversation up to its end, without instructions, as JSON text
};

class ResponseStore {
 public:
  explicit ResponseStore(int64_t max_bytes_per_caller) : max_bytes_(max_bytes_per_caller) {}

  // One that is larger than all the room is not kept.
  void Keep(const std::string& caller, StoredResponse response);
  std::optional<StoredResponse> Find(const std::string& caller, const std::string& id);
  bool Delete(const std::string& caller, const std::string& id);  // whether it was there

 private:
  struct Room {
    std::list<StoredResponse> responses;  // the latest used first
    int64_t bytes = 0;
  };
  using Place = std::list<StoredResponse>::iterator;
  static int64_t BytesOf(const StoredResponse& response);
  static Place PlaceOf(Room& room, const std::string& id);
  static void Erase(Room& room, Place place);

  const int64_t max_bytes_;
  std::mutex mutex_;
  std::map<std::string, Room> rooms_;  // by caller: as many as there are keys
};

}  // namespace tandem
