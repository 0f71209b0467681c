// SPDX-License-Identifier: MIT
// Elements of tensors, several channels at once where memory allows it.
//
// A sample's pixels follow each other without gaps, so a batch is one list of rows: row q = n pixels + p begins at
// data + q pixel_stride.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "ulna/backend/cuda/execution.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::cuda {

/// V neighbouring elements, moved by one instruction.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T element[V];
};

/// The channels of row q.
template <class T>
constexpr T* row_of(const Tensor<T>& x, std::int64_t q) {
  return x.data + q * x.pixel_stride;
}
template <class T>
constexpr std::int64_t rows_of(const Tensor<T>& x) {
  return std::int64_t{x.batch} * x.pixels();
}

struct Quotient {
  std::int64_t quotient;
  int remainder;
};
/// i / divisor for i in [0, 2^62). In 32 bits where that is enough, and else bit by bit: devices divide 64 bits by
/// calling a function, for which a kernel spills its registers.
constexpr Quotient divide(std::int64_t i, int divisor) {
  const auto d = static_cast<std::uint32_t>(divisor);
  if (i <= 0xFFFFFFFF) {
    const auto small = static_cast<std::uint32_t>(i);
    const std::uint32_t q = small / d;
    return {q, static_cast<int>(small - q * d)};
  }
  std::int64_t quotient = 0;
  std::uint32_t rest = 0;
  for (int bit = 61; bit >= 0; --bit) {
    rest = (rest << 1) | static_cast<std::uint32_t>((i >> bit) & 1);
    quotient <<= 1;
    if (rest < d) continue;
    rest -= d;
    quotient |= 1;
  }
  return {quotient, static_cast<int>(rest)};
}

inline constexpr int widest_pack = 4;

/// Whether four channels of the tensor can be read at once.
template <class T>
bool allows_packs(const Tensor<T>& x) {
  return x.shape.channels % widest_pack == 0 && x.pixel_stride % widest_pack == 0 &&
         reinterpret_cast<std::uintptr_t>(x.data) % (widest_pack * sizeof(T)) == 0;
}

/// y[q][c] = f(q, c, x0[q][c], x1[q][c], ...): f takes and gives float.
template <class F, class T, int Inputs, int V>
struct MapBody {
  F f;
  Tensor<T> y;
  std::array<Tensor<T>, Inputs> x;

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const auto [q, group] = divide(i, y.shape.channels / V);
    const int c = group * V;
    Pack<T, V> in[Inputs];
    for (int k = 0; k < Inputs; ++k)
      in[k] = *reinterpret_cast<const Pack<T, V>*>(row_of(x[static_cast<std::size_t>(k)], q) + c);
    Pack<T, V> out;
    for (int v = 0; v < V; ++v) {
      const auto value = [&](int k) { return static_cast<float>(in[k].element[v]); };
      if constexpr (Inputs == 1)
        out.element[v] = static_cast<T>(f(q, c + v, value(0)));
      else
        out.element[v] = static_cast<T>(f(q, c + v, value(0), value(1)));
    }
    *reinterpret_cast<Pack<T, V>*>(row_of(y, q) + c) = out;
  }
};

/// Fills y from one or two inputs of its shape, element by element. y may be one of them.
template <class Execution, class T, class F, class... Inputs>
void map_elements(const Execution& on, const char* name, const F& f, const Tensor<T>& y, const Inputs&... x) {
  constexpr int inputs = static_cast<int>(sizeof...(Inputs));
  static_assert(inputs == 1 || inputs == 2);
  const std::int64_t count = rows_of(y) * y.shape.channels;
  if (allows_packs(y) && (allows_packs(x) && ...))
    on.each(name, count / widest_pack, MapBody<F, T, inputs, widest_pack>{f, y, {x...}});
  else
    on.each(name, count, MapBody<F, T, inputs, 1>{f, y, {x...}});
}

// --- positions
// --------------------------------------------------------------------------------------------------------

/// Coordinates of pixel `index` of a box.
constexpr Extent position_of(int index, Extent box) {
  const Quotient row = divide(index, box.width);
  const Quotient plane = divide(row.quotient, box.height);
  return {static_cast<int>(plane.quotient), plane.remainder, row.remainder};
}

constexpr int index_of(Extent position, Extent box) {
  return (position.depth * box.height + position.height) * box.width + position.width;
}

constexpr bool inside(Extent position, Extent box) {
  return position.depth >= 0 && position.depth < box.depth && position.height >= 0 && position.height < box.height &&
         position.width >= 0 && position.width < box.width;
}

/// Channel `channel` of pixel `pixel` of sample `sample`.
struct Element {
  int sample, pixel, channel;
};
template <class T>
constexpr Element element_of(const Tensor<T>& x, std::int64_t i) {
  const Quotient row = divide(i, x.shape.channels);
  const Quotient sample = divide(row.quotient, static_cast<int>(x.pixels()));
  return {static_cast<int>(sample.quotient), sample.remainder, row.remainder};
}

/// body(element) for every element of the shape and batch of x.
template <class T, class Body>
struct ElementBody {
  Tensor<T> x;
  Body body;
  ULNA_HOST_DEVICE void operator()(std::int64_t i) const { body(element_of(x, i)); }
};
template <class Execution, class T, class Body>
void each_element(const Execution& on, const char* name, const Tensor<T>& x, const Body& body) {
  on.each(name, rows_of(x) * x.shape.channels, ElementBody<T, Body>{x, body});
}

}  // namespace ulna::cuda
