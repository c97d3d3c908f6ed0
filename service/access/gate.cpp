#include "service/access/gate.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "service/access/rate_limit.h"
#include "service/access/tasks.h"

namespace tandem {
namespace {

absl::Status Limited(const Caller& caller, const std::string& what, double wait_s) {
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("key ", caller.name, " has reached its limit of ", what));
  status.SetPayload(kErrorCodePayload, absl::Cord("rate_limit_exceeded"));
  status.SetPayload(kRetryAfterMsPayload,
                    absl::Cord(absl::StrCat(static_cast<int64_t>(wait_s * 1000) + 1)));
  return status;
}

// Whose tasks a caller may see: an admin's may be anybody's.
std::optional<std::string> OwnerFor(const Caller& caller) {
  if (caller.admin) return std::nullopt;
  return caller.name;
}

}  // namespace

class Gate::Impl {
 public:
  Impl(Admission& admission, const ApiKeys& keys) : admission_(admission), keys_(keys) {}

  absl::StatusOr<std::unique_ptr<Pass>> Enter(const Caller& caller, const RequestTags& tags);
  Tasks& tasks() { return tasks_; }

 private:
  // What a key uses of its limits.
  struct Account {
    explicit Account(const KeyLimits& limits)
        : limits(limits), requests(limits.requests_per_minute), tokens(limits.tokens_per_minute) {}
    const KeyLimits limits;
    RateLimit requests, tokens;
    int32_t open = 0;
  };

  class PassImpl final : public Pass {
   public:
    PassImpl(Impl& gate, Account& account, Admission::Ticket ticket,
             std::shared_ptr<Tasks::Request> request)
        : gate_(gate),
          account_(account),
          ticket_(std::move(ticket)),
          request_(std::move(request)) {}
    ~PassImpl() override {
      if (request_ != nullptr) gate_.tasks_.Leave(request_);
      std::lock_guard lock(gate_.mutex_);
      --account_.open;
    }
    void OnCancel(std::function<void()> cancel) override {
      if (request_ != nullptr) request_->OnCancel(std::move(cancel));
    }
    void NoteUsage(const Usage& usage) override {
      if (request_ != nullptr) gate_.tasks_.NoteUsage(*request_, usage);
      std::lock_guard lock(gate_.mutex_);
      account_.tokens.Use(usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens);
    }
    void NoteGone() override {
      if (request_ != nullptr) gate_.tasks_.CancelChildren(*request_);
    }

   private:
    Impl& gate_;
    Account& account_;
    Admission::Ticket ticket_;
    std::shared_ptr<Tasks::Request> request_;
  };

  Account& AccountOf(const Caller& caller) {
    return accounts_.try_emplace(caller.name, keys_.LimitsOf(caller)).first->second;
  }
  absl::Status TakePlace(const Caller& caller, Account& account);

  Admission& admission_;
  const ApiKeys& keys_;
  Tasks tasks_;
  std::mutex mutex_;
  std::map<std::string, Account> accounts_;  // by the key's name; as many as there are keys
};

// REQUIRES: mutex_ is held.
absl::Status Gate::Impl::TakePlace(const Caller& caller, Account& account) {
  constexpr double kOpenWaitS = 1;
  const KeyLimits& limits = account.limits;
  if (limits.open_requests > 0 && account.open >= limits.open_requests)
    return Limited(caller, absl::StrCat(limits.open_requests, " open requests"), kOpenWaitS);
  const auto now = RateLimit::Clock::now();
  if (const double wait_s = account.requests.WaitSeconds(now); wait_s > 0)
    return Limited(caller, absl::StrCat(limits.requests_per_minute, " requests a minute"), wait_s);
  if (const double wait_s = account.tokens.WaitSeconds(now); wait_s > 0)
    return Limited(caller, absl::StrCat(limits.tokens_per_minute, " tokens a minute"), wait_s);
  account.requests.Use(1);
  ++account.open;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Gate::Pass>> Gate::Impl::Enter(const Caller& caller,
                                                              const RequestTags& tags) {
  TANDEM_ASSIGN_OR_RETURN(Admission::Ticket ticket, admission_.Enter());
  Account* account = nullptr;
  {
    std::lock_guard lock(mutex_);
    account = &AccountOf(caller);
    TANDEM_RETURN_IF_ERROR(TakePlace(caller, *account));
  }
  auto request = tasks_.Enter(caller.name, tags);
  if (!request.ok()) {
    std::lock_guard lock(mutex_);
    --account->open;
    return request.status();
  }
  return std::make_unique<PassImpl>(*this, *account, std::move(ticket), *std::move(request));
}

Gate::Gate(Admission& admission, const ApiKeys& keys)
    : impl_(std::make_unique<Impl>(admission, keys)) {}
Gate::~Gate() = default;

absl::StatusOr<std::unique_ptr<Gate::Pass>> Gate::Enter(const Caller& caller,
                                                        const RequestTags& tags) {
  return impl_->Enter(caller, tags);
}

std::vector<TaskUsage> Gate::ListTasks(const Caller& caller) const {
  return impl_->tasks().List(OwnerFor(caller));
}

absl::StatusOr<int32_t> Gate::CancelTask(const Caller& caller, const std::string& task,
                                         const std::string& agent) {
  return impl_->tasks().Cancel(OwnerFor(caller), task, agent);
}

}  // namespace tandem
