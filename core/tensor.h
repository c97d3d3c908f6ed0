// A non-owning view of a tensor. Shapes outermost first, strides in elements.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

namespace tandem {

template <class T, int Rank>
class View {
  static_assert(Rank >= 1);

 public:
  using Index = std::array<int64_t, Rank>;

  constexpr View() = default;
  // Contiguous, row-major.
  constexpr View(T* data, Index shape) : data_(data), shape_(shape) {
    int64_t stride = 1;
    for (int d = Rank - 1; d >= 0; --d) {
      strides_[d] = stride;
      stride *= shape[d];
    }
  }
  constexpr View(T* data, Index shape, Index strides)
      : data_(data), shape_(shape), strides_(strides) {}
  // View<T> converts to View<const T>.
  constexpr operator View<const T, Rank>() const requires(!std::is_const_v<T>) {
    return {data_, shape_, strides_};
  }

  constexpr T* data() const { return data_; }
  constexpr int64_t dim(int d) const { return shape_[d]; }
  constexpr int64_t stride(int d) const { return strides_[d]; }
  constexpr const Index& shape() const { return shape_; }
  constexpr bool empty() const { return data_ == nullptr || size() == 0; }
  constexpr int64_t size() const {
    int64_t n = 1;
    for (int64_t s : shape_) n *= s;
    return n;
  }

  // Element for all indices, e.g. v(row, col).
  template <class... I>
  constexpr T& operator()(I... index) const {
    static_assert(sizeof...(I) == Rank);
    int64_t offset = 0, d = 0;
    ((offset += static_cast<int64_t>(index) * strides_[d++]), ...);
    return data_[offset];
  }
  // Sub-view at index i of the outermost dimension; for rank 1 the element itself.
  constexpr decltype(auto) operator[](int64_t i) const {
    if constexpr (Rank == 1) {
      return (data_[i * strides_[0]]);
    } else {
      std::array<int64_t, Rank - 1> shape, strides;
      for (int d = 1; d < Rank; ++d) {
        shape[d - 1] = shape_[d];
        strides[d - 1] = strides_[d];
      }
      return View<T, Rank - 1>(data_ + i * strides_[0], shape, strides);
    }
  }
  // Pointer to the start of row i of the outermost dimension.
  constexpr T* row(int64_t i) const { return data_ + i * strides_[0]; }
  // Rows [begin, begin + count) of the outermost dimension.
  constexpr View Slice(int64_t begin, int64_t count) const {
    Index shape = shape_;
    shape[0] = count;
    return {data_ + begin * strides_[0], shape, strides_};
  }

 private:
  T* data_ = nullptr;
  Index shape_{};
  Index strides_{};
};

}  // namespace tandem
