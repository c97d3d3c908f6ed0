// Who of those that share a priority has been served least: start-time fair queueing by tokens.
//
// A party (GenerationRequest::fair_share) has an account of the tokens computed for it, prompt and
// answer; the one with the least has the first turn. For admission what is pending counts too.
// Nobody saves up while away: who comes back starts at the least of those present, or at the own
// account if that is more. Used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tandem {

struct FairShare {
  std::string name;
  double served = 0;    // tokens
  double pending = 0;   // tokens of prompts that were admitted and are not computed yet
  int32_t members = 0;  // requests, waiting or running
};

class FairShares {
 public:
  // One more request of this name. Stays valid until its last member has left.
  FairShare* Join(const std::string& name);
  void Leave(FairShare* share);
  void ClearPending();

 private:
  double Floor() const;  // the least of those present; else the most of all

  std::map<std::string, FairShare> shares_;
};

}  // namespace tandem
