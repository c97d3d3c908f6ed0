// Stand-in for Abseil's StatusOr: a value, or why there is none.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"

namespace absl {

template <class T>
class [[nodiscard]] StatusOr {
  template <class U>
  static constexpr bool kIsValue =
      std::is_constructible_v<T, U&&> && !std::is_same_v<std::remove_cvref_t<U>, StatusOr> &&
      !std::is_convertible_v<U&&, Status>;

 public:
  StatusOr(Status status) : status_(std::move(status)) {
    if (status_.ok()) Stop("a StatusOr was made from an OK status");
  }
  StatusOr(T value) : value_(std::move(value)) {}
  template <class U>
  requires kIsValue<U> StatusOr(U&& value) : value_(std::in_place, std::forward<U>(value)) {}
  template <class U>
  requires(!std::is_same_v<T, U> && std::is_constructible_v<T, U&&>) StatusOr(StatusOr<U>&& other)
      : status_(other.status()) {
    if (other.ok()) value_.emplace(std::move(*other));
  }

  bool ok() const { return status_.ok(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  T& value() & { return Checked(), *value_; }
  const T& value() const& { return Checked(), *value_; }
  T&& value() && { return Checked(), *std::move(value_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  void Checked() const {
    if (!ok()) Stop(status_.ToString().c_str());
  }
  [[noreturn]] static void Stop(const char* why) {
    std::fprintf(stderr, "StatusOr without a value: %s\n", why);
    std::abort();
  }
  Status status_;
  std::optional<T> value_;
};

}  // namespace absl
