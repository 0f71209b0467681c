// SPDX-License-Identifier: MIT
// Between Ulna's memory order of a parameter and the order that files keep, which is PyTorch's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "ulna/graph/graph.hpp"

namespace ulna {

/// The shape of a parameter in a file: (out, in, [depth,] height, width) for convolutions, (in, out, ...) for
/// transposed ones, (out, in) for matrices, (1, positions, channels) for embeddings, (channels) for vectors.
inline std::vector<std::uint64_t> file_shape(const Parameter& p) {
  const auto extent = [](int n) { return static_cast<std::uint64_t>(n); };
  if (p.kind == ParameterKind::linear_weight) return {extent(p.out), extent(p.in)};
  if (p.kind == ParameterKind::embedding) return {1, static_cast<std::uint64_t>(p.kernel.volume()), extent(p.out)};
  if (p.kind != ParameterKind::weight && p.kind != ParameterKind::transposed_weight) return {extent(p.out)};
  const bool transposed = p.kind == ParameterKind::transposed_weight;
  std::vector<std::uint64_t> shape{extent(transposed ? p.in : p.out), extent(transposed ? p.out : p.in)};
  if (p.kernel.depth > 1) shape.push_back(extent(p.kernel.depth));
  shape.push_back(extent(p.kernel.height));
  shape.push_back(extent(p.kernel.width));
  return shape;
}

namespace detail {
/// Calls visit(index in memory, index in the file) for every element: in blocks whose lines, on both sides, stay in
/// the first-level cache.
void for_each_element(const Parameter& p, auto&& visit) {
  if (p.kind == ParameterKind::embedding) {  // position by position in both
    for (std::size_t i = 0; i < static_cast<std::size_t>(p.size()); ++i) visit(i, i);
    return;
  }
  constexpr std::int64_t block = 16;
  const std::int64_t taps = p.kernel.volume();
  const bool transposed = p.kind == ParameterKind::transposed_weight;
  const std::int64_t out_step = transposed ? 1 : p.in;
  const std::int64_t in_step = transposed ? p.out : 1;
  for (std::int64_t first = 0; first < p.out; first += block)
    for (std::int64_t in = 0; in < p.in; ++in)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t out = first; out < std::min<std::int64_t>(first + block, p.out); ++out)
          visit(static_cast<std::size_t>((tap * p.in + in) * p.out + out),
                static_cast<std::size_t>((in * in_step + out * out_step) * taps + tap));
}
}  // namespace detail

/// Memory order to file order; both spans hold p.size() elements.
template <class T>
void to_file_order(const Parameter& p, std::span<const T> memory, std::span<T> file) {
  detail::for_each_element(p, [&](std::size_t m, std::size_t f) { file[f] = memory[m]; });
}

/// File order to memory order.
template <class T>
void to_memory_order(const Parameter& p, std::span<const T> file, std::span<T> memory) {
  detail::for_each_element(p, [&](std::size_t m, std::size_t f) { memory[m] = file[f]; });
}

}  // namespace ulna
