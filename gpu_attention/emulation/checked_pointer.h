// Pointers of emulated kernels: they carry the bounds of the piece of memory that they were made
// for. They may point anywhere; an access outside the bounds, or one not aligned to its type, is a
// fault (fault.h).
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "gpu_attention/emulation/fault.h"

namespace tandem::emulated {

struct GlobalSpace {
  static constexpr const char* kName = "global";
};
struct SharedSpace {
  static constexpr const char* kName = "shared";
};

template <class T, class Space>
class CheckedPointer {
 public:
  constexpr CheckedPointer() = default;
  constexpr CheckedPointer(std::nullptr_t) {}
  constexpr CheckedPointer(T* p, const void* begin, size_t bytes)
      : p_(p), begin_(begin), bytes_(bytes) {}
  // T to const T.
  template <class U>
  requires(!std::is_same_v<U, T> &&
           std::is_convertible_v<U (*)[],
                                 T (*)[]>) constexpr CheckedPointer(CheckedPointer<U, Space> other)
      : p_(other.raw()), begin_(other.begin()), bytes_(other.bytes()) {}

  T& operator*() const { return *Access(p_, sizeof(T), alignof(T)); }
  T* operator->() const { return Access(p_, sizeof(T), alignof(T)); }
  template <std::integral I>
  T& operator[](I i) const {
    return *Access(p_ + i, sizeof(T), alignof(T));
  }
  // `bytes` bytes from here on, checked.
  T* Access(size_t bytes, size_t alignment) const { return Access(p_, bytes, alignment); }

  template <std::integral I>
  friend constexpr CheckedPointer operator+(CheckedPointer p, I n) {
    return {p.p_ + n, p.begin_, p.bytes_};
  }
  template <std::integral I>
  friend constexpr CheckedPointer operator+(I n, CheckedPointer p) {
    return p + n;
  }
  template <std::integral I>
  friend constexpr CheckedPointer operator-(CheckedPointer p, I n) {
    return {p.p_ - n, p.begin_, p.bytes_};
  }
  friend constexpr ptrdiff_t operator-(CheckedPointer a, CheckedPointer b) { return a.p_ - b.p_; }
  template <std::integral I>
  constexpr CheckedPointer& operator+=(I n) {
    p_ += n;
    return *this;
  }
  template <std::integral I>
  constexpr CheckedPointer& operator-=(I n) {
    p_ -= n;
    return *this;
  }
  constexpr CheckedPointer& operator++() { return *this += 1; }
  constexpr CheckedPointer& operator--() { return *this -= 1; }
  constexpr CheckedPointer operator++(int) {
    CheckedPointer old = *this;
    ++*this;
    return old;
  }

  friend constexpr bool operator==(CheckedPointer a, CheckedPointer b) { return a.p_ == b.p_; }
  friend constexpr auto operator<=>(CheckedPointer a, CheckedPointer b) { return a.p_ <=> b.p_; }
  friend constexpr bool operator==(CheckedPointer p, std::nullptr_t) { return p.p_ == nullptr; }
  explicit constexpr operator bool() const { return p_ != nullptr; }

  // Unchecked, for the emulation itself.
  constexpr T* raw() const { return p_; }
  constexpr const void* begin() const { return begin_; }
  constexpr size_t bytes() const { return bytes_; }

 private:
  [[gnu::always_inline]] T* Access(T* p, size_t bytes, size_t alignment) const {
    const uintptr_t address = reinterpret_cast<uintptr_t>(p);
    const size_t offset = address - reinterpret_cast<uintptr_t>(begin_);
    if (offset >= bytes_ || bytes_ - offset < bytes || address % alignment != 0) [[unlikely]] {
      AccessFault(Space::kName, p, bytes, alignment, begin_, bytes_);
    }
    return p;
  }

  T* p_ = nullptr;
  const void* begin_ = nullptr;
  size_t bytes_ = 0;
};

template <class T>
using Global = CheckedPointer<T, GlobalSpace>;
template <class T>
using Shared = CheckedPointer<T, SharedSpace>;

template <class T>
constexpr Global<T> MakeGlobal(T* data, int64_t count) {
  return {data, data, static_cast<size_t>(count) * sizeof(T)};
}
template <class T>
T* RawPointer(Global<T> p, int64_t count) {
  return count == 0 ? p.raw() : p.Access(static_cast<size_t>(count) * sizeof(T), alignof(T));
}
template <class To, class From, class Space>
CheckedPointer<To, Space> PointerCast(CheckedPointer<From, Space> p) {
  return {reinterpret_cast<To*>(p.raw()), p.begin(), p.bytes()};
}

}  // namespace tandem::emulated
