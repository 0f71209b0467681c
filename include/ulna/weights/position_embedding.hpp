// SPDX-License-Identifier: MIT
// Learned positions for other extents: a vision transformer has a vector for each token of a grid, and an image of
// another extent has another grid. The vectors are interpolated linearly between the old grid's, its corners staying
// corners, as TransUNet's code does with pre-trained weights (Dosovitskiy et al. 2021, section 3.2). Only on request.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "ulna/weights/model_file.hpp"

namespace ulna {

/// Rows and columns of a map of tokens.
struct TokenGrid {
  int height = 0;
  int width = 0;

  constexpr bool operator==(const TokenGrid&) const = default;
  constexpr std::size_t size() const { return static_cast<std::size_t>(height) * static_cast<std::size_t>(width); }
};

/// y[i][j] = x at (i (H - 1) / (H' - 1), j (W - 1) / (W' - 1)), linear between neighbours; 0 where H' or W' is 1.
/// `positions`: `from.size()` vectors, row by row.
template <class T>
std::vector<T> resized_positions(std::span<const T> positions, TokenGrid from, TokenGrid to) {
  if (from.size() == 0 || positions.size() % from.size() != 0)
    throw ArgumentError("resized_positions: found " + std::to_string(positions.size()) + " numbers, which are no " +
                        std::to_string(from.height) + " x " + std::to_string(from.width) + " vectors");
  struct Between {
    std::size_t low, high;
    double share;  ///< of `high`
  };
  const auto along = [](int i, int old_count, int new_count) {
    const double at = new_count > 1 ? static_cast<double>(i) * (old_count - 1) / (new_count - 1) : 0.0;
    const int low = std::min(static_cast<int>(at), old_count - 1);
    return Between{static_cast<std::size_t>(low), static_cast<std::size_t>(std::min(low + 1, old_count - 1)), at - low};
  };
  const std::size_t channels = positions.size() / from.size();
  const auto width = static_cast<std::size_t>(from.width);
  std::vector<T> out;
  out.reserve(to.size() * channels);
  for (int i = 0; i < to.height; ++i)
    for (int j = 0; j < to.width; ++j) {
      const Between y = along(i, from.height, to.height);
      const Between x = along(j, from.width, to.width);
      for (std::size_t c = 0; c < channels; ++c) {
        const auto value = [&](std::size_t row, std::size_t column) {
          return static_cast<double>(positions[(row * width + column) * channels + c]);
        };
        const double upper = (1 - x.share) * value(y.low, x.low) + x.share * value(y.low, x.high);
        const double lower = (1 - x.share) * value(y.high, x.low) + x.share * value(y.high, x.high);
        out.push_back(static_cast<T>((1 - y.share) * upper + y.share * lower));
      }
    }
  return out;
}

namespace detail {

/// The grid that a file's `count` positions form, and whether a class token's comes before them.
struct StoredPositions {
  TokenGrid grid;
  bool class_token = false;
};

inline StoredPositions stored_positions(std::uint64_t count, TokenGrid said, const std::string& what) {
  const auto side_of = [](std::uint64_t n) { return static_cast<int>(std::lround(std::sqrt(static_cast<double>(n)))); };
  for (const bool class_token : {false, true}) {
    const std::uint64_t tokens = count - (class_token ? 1 : 0);
    const TokenGrid grid = said == TokenGrid{} ? TokenGrid{side_of(tokens), side_of(tokens)} : said;
    if (grid.size() == tokens && tokens > 0) return {grid, class_token};
  }
  throw WeightsError(what + " holds " + std::to_string(count) + " positions; " +
                     (said == TokenGrid{}
                          ? std::string("they form no square grid, with or without a class token; say "
                                        "which grid it is")
                          : "a grid of " + std::to_string(said.height) + " x " + std::to_string(said.width) + " has " +
                                std::to_string(said.size()) + ", and one more with a class token"));
}

}  // namespace detail

/// A checkpoint as program P can load it: position embeddings of another grid are resized to P's, and the position of a
/// class token in front of them is dropped. Everything else stays, as do embeddings that fit, and load_weights refuses
/// what it would have refused.
///     const auto file = fit_position_embeddings<P>(safetensors::File::open("vit.safetensors"), map);
///     load_weights(model, file, map);
/// `grid`: the checkpoint's, where it is not square. Throws WeightsError when the positions form no such grid.
template <class P>
safetensors::File fit_position_embeddings(safetensors::File file, const NameMap& map = own_name, TokenGrid grid = {}) {
  for (const Parameter& p : P::inference.graph.parameters) {
    if (p.kind != ParameterKind::embedding || p.kernel.depth != 1) continue;
    const std::string name = map(name_of(P::inference.graph, p));
    const safetensors::Tensor* found = file.find(name);
    if (found == nullptr || found->shape.size() != 3 || found->shape[0] != 1) continue;
    if (found->shape[2] != static_cast<std::uint64_t>(p.out)) continue;
    const TokenGrid here{p.kernel.height, p.kernel.width};
    if (found->shape == file_shape(p) && (grid == TokenGrid{} || grid == here)) continue;
    const auto stored =
        detail::stored_positions(found->shape[1], grid, file.name() + ": tensor " + json::quoted(name));
    const std::vector<double> all = found->to_vector<double>();
    const auto skipped = static_cast<std::size_t>(stored.class_token ? p.out : 0);
    file = file.with(name, file_shape(p),
                     resized_positions(std::span<const double>(all).subspan(skipped), stored.grid, here));
  }
  return file;
}

/// A model of the same network for another input extent: position embeddings are resized, all else is copied.
template <class To, class From, class T>
Model<To, T> at_extent(const Model<From, T>& model) {
  static_assert(std::is_same_v<typename To::Network, typename From::Network>,
                "at_extent: the program is of another network than the model");
  Model<To, T> out;
  for (int i = 0; i < To::inference.graph.parameters.size(); ++i) {
    const Parameter& from = From::inference.graph.parameters[i];
    const Parameter& to = To::inference.graph.parameters[i];
    const std::span<const T> values = model.values(from);
    const std::span<T> target = out.mutable_values(to);
    if (from.kernel == to.kernel) {
      std::copy(values.begin(), values.end(), target.begin());
    } else {
      const auto resized =
          resized_positions(values, {from.kernel.height, from.kernel.width}, {to.kernel.height, to.kernel.width});
      std::copy(resized.begin(), resized.end(), target.begin());
    }
  }
  return out;
}

}  // namespace ulna
