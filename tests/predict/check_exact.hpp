// SPDX-License-Identifier: MIT
// Tiled equals whole, to the bit.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "ulna/predict/segment.hpp"

namespace ulna::testing {

inline ImageArray random_image(int height, int width, int channels, Seed seed = {}) {
  ImageArray image = make_image(height, width, channels);
  Random random(seed, 0, 0x1A6Eu);
  for (float& v : image) v = random.normal();
  return image;
}

/// The image extended by mirroring: `before` pixels at the top and left, up to (height, width) in all.
inline std::vector<float> extended(const ImageArray& image, int before_y, int before_x, int height, int width) {
  const int h = static_cast<int>(image.shape()[0]);
  const int w = static_cast<int>(image.shape()[1]);
  const auto channels = static_cast<std::ptrdiff_t>(image.shape()[2]);
  std::vector<float> out;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const float* pixel =
          image.data() + (std::ptrdiff_t{mirrored(y - before_y, h)} * w + mirrored(x - before_x, w)) * channels;
      out.insert(out.end(), pixel, pixel + channels);
    }
  return out;
}

/// Compares Segmenter with tiles of TileHeight x TileWidth against a program as large as the image extended by
/// mirroring (and, for valid convolutions, by their border).
template <class B, class Net, int TileHeight, int TileWidth, int Height, int Width, int Channels = 1>
void check_exact(B backend = {}) {
  using Tile = Program<Net, Image<Channels, TileHeight, TileWidth>>;
  constexpr int border_y = (Tile::input_shape.height - Tile::output_shape.height) / 2;
  constexpr int border_x = (Tile::input_shape.width - Tile::output_shape.width) / 2;
  constexpr int alignment = Tiling<Tile, B>::alignment;
  // What predict/tiling.hpp states: the output is extended to the next length that differs from a tile's by a multiple
  // of the alignment.
  constexpr auto next = [](int length, int output) {
    while (length < output || (length - output) % alignment != 0) ++length;
    return length;
  };
  constexpr int whole_height = next(Height, Tile::output_shape.height) + 2 * border_y;
  constexpr int whole_width = next(Width, Tile::output_shape.width) + 2 * border_x;
  using Whole = Program<Net, Image<Channels, whole_height, whole_width>>;
  static_assert(Tiling<Whole, B>::alignment == alignment &&
                Tiling<Whole, B>::halo.pixels == Tiling<Tile, B>::halo.pixels);
  static_assert(whole_height > TileHeight || whole_width > TileWidth, "this would compare a tile with itself");

  using T = typename B::Element;
  using M = MasterOf<B>;
  Model<Tile, M> model{Seed{21}};
  Random random(Seed{22});
  for (M& v : model.mutable_parameters()) v += static_cast<M>(0.05f * random.normal());
  for (const Parameter& p : model.graph().parameters)
    if (p.kind == ParameterKind::running_variance)
      for (M& v : model.mutable_values(p)) v = static_cast<M>(random.uniform(0.5f, 2.0f));
  const ImageArray image = random_image(Height, Width, Channels);

  Segmenter<Tile, B> segmenter{model, {.small_image = SmallImage::mirror}, backend};
  const ProbabilityArray tiled = segmenter.logits({image.data(), 1, Height, Width, Channels});
  Predictor<Whole, TileBackend<B>> predictor{model, 1, TileBackend<B>(backend)};
  const std::vector<float> input = extended(image, border_y, border_x, whole_height, whole_width);
  const Tensor<T> whole = predictor.predict({input.data(), 1, whole_height, whole_width, Channels});

  int differing = 0;
  std::string first;
  for (int y = 0; y < Height; ++y)
    for (int x = 0; x < Width; ++x)
      for (int c = 0; c < Tile::classes; ++c) {
        const auto expected = static_cast<float>((whole.row(0, y) + x * whole.pixel_stride)[c]);
        const float found =
            tiled(static_cast<std::size_t>(y), static_cast<std::size_t>(x), static_cast<std::size_t>(c));
        if (std::memcmp(&expected, &found, sizeof found) == 0) continue;
        if (differing++ == 0)
          first = "row " + std::to_string(y) + ", column " + std::to_string(x) + ": " + std::to_string(found) +
                  ", expected " + std::to_string(expected);
      }
  CHECK_MESSAGE(differing == 0, differing << " logits differ; the first at " << first);
}

}  // namespace ulna::testing
