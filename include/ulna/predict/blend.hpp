// SPDX-License-Identifier: MIT
// Overlapping tiles whose probabilities are averaged under a Gaussian: for networks that cannot be tiled exactly
// (statistics of the whole image, attention). The result depends on where the tiles lie; exact tiling is in
// segment.hpp.
#pragma once

#include <cmath>
#include <vector>

#include "ulna/predict/segment.hpp"

namespace ulna {

/// Where overlapping windows start along one axis.
namespace windows {
/// nnU-Net: ceil((n - tile) / (tile step)) + 1 windows, spread evenly; halves are rounded to even, as NumPy does.
struct Spread {
  static std::vector<int> starts(int length, int tile, double step) {
    const int count = length <= tile ? 1 : static_cast<int>(std::ceil((length - tile) / (tile * step))) + 1;
    std::vector<int> at(static_cast<std::size_t>(count), 0);
    const double apart = count == 1 ? 0.0 : static_cast<double>(length - tile) / (count - 1);
    for (int i = 1; i < count; ++i) at[static_cast<std::size_t>(i)] = static_cast<int>(std::nearbyint(apart * i));
    return at;
  }
};
/// MONAI: windows every `tile step` pixels, the last one moved back to the end.
struct Shifted {
  static std::vector<int> starts(int length, int tile, double step) {
    const int interval = std::max(1, static_cast<int>(tile * step));
    std::vector<int> at{0};
    while (at.back() + tile < length) at.push_back(std::min(at.back() + interval, length - tile));
    return at;
  }
};
}  // namespace windows

/// How windows are weighted.
struct BlendOptions {
  double step = 0.5;       ///< of the tile's extent, in (0, 1]
  double sigma = 0.125;    ///< of the tile's extent; the Gaussian is centred at (tile - 1) / 2
  double smallest = 1e-3;  ///< weights are at least this share of the largest
};

/// Segments by blending windows of program P, which must keep the extent of its input.
template <class P, Backend B, class Windows = windows::Spread>
class BlendedSegmenter {
 public:
  static_assert(P::input_shape.height == P::output_shape.height && P::input_shape.width == P::output_shape.width,
                "Ulna: blending needs a network whose output is as large as its input; use padding::Same");

  template <class ModelType>
  explicit BlendedSegmenter(ModelType& model, BlendOptions options = {}, B backend = {})
      : options_(options), predictor_(model, 1, std::move(backend)) {
    if (!(options.step > 0.0 && options.step <= 1.0))
      throw ArgumentError("BlendedSegmenter: step is " + std::to_string(options.step) + ", must be in (0, 1]");
    if (!(options.sigma > 0.0))
      throw ArgumentError("BlendedSegmenter: sigma is " + std::to_string(options.sigma) + ", must be positive");
    if (!(options.smallest > 0.0 && options.smallest <= 1.0))
      throw ArgumentError("BlendedSegmenter: the smallest weight is " + std::to_string(options.smallest) +
                          ", must be in (0, 1]");
  }

  /// Probabilities, (height, width, classes). Images smaller than a tile are mirrored up to one.
  ProbabilityArray probabilities(const ImagesView& image) {
    detail::require_image(image, P::input_shape.channels, 1, 1, SmallImage::mirror);
    const int h = std::max(image.height, tile_height);
    const int w = std::max(image.width, tile_width);
    const std::vector<float> wy = gaussian(tile_height);
    const std::vector<float> wx = gaussian(tile_width);
    const std::size_t classes = static_cast<std::size_t>(P::classes);
    ProbabilityArray sum =
        ProbabilityArray::from_shape({static_cast<std::size_t>(h), static_cast<std::size_t>(w), classes});
    std::fill(sum.begin(), sum.end(), 0.0f);
    std::vector<float> weight(static_cast<std::size_t>(h) * static_cast<std::size_t>(w), 0.0f);
    std::vector<float> p(classes);
    for (const int top : Windows::starts(h, tile_height, options_.step))
      for (const int left : Windows::starts(w, tile_width, options_.step)) {
        gather(image, top, left);
        const auto out = predictor_.predict({tile_.data(), 1, tile_height, tile_width, image.channels});
        for (int y = 0; y < tile_height; ++y)
          for (int x = 0; x < tile_width; ++x) {
            detail::probabilities_of(out.row(0, y) + x * out.pixel_stride, P::classes, p.data());
            const float g = std::max(wy[static_cast<std::size_t>(y)] * wx[static_cast<std::size_t>(x)],
                                     static_cast<float>(options_.smallest));
            const std::size_t at =
                static_cast<std::size_t>(top + y) * static_cast<std::size_t>(w) + static_cast<std::size_t>(left + x);
            weight[at] += g;
            for (std::size_t c = 0; c < classes; ++c) sum.data()[at * classes + c] += g * p[c];
          }
      }
    return cropped(sum, weight, image.height, image.width, w);
  }

  LabelArray labels(const ImagesView& image) { return detail::labels_of(probabilities(image)); }

 private:
  static constexpr int tile_height = P::input_shape.height;
  static constexpr int tile_width = P::input_shape.width;

  std::vector<float> gaussian(int n) const {
    std::vector<float> g(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
      const double d = (i - 0.5 * (n - 1)) / (options_.sigma * n);
      g[static_cast<std::size_t>(i)] = static_cast<float>(std::exp(-0.5 * d * d));
    }
    return g;
  }

  void gather(const ImagesView& image, int top, int left) {
    float* to = tile_.data();
    for (int y = 0; y < tile_height; ++y)
      for (int x = 0; x < tile_width; ++x) {
        const std::ptrdiff_t pixel =
            std::ptrdiff_t{mirrored(top + y, image.height)} * image.width + mirrored(left + x, image.width);
        to = std::copy(image.data + pixel * image.channels, image.data + (pixel + 1) * image.channels, to);
      }
  }

  static ProbabilityArray cropped(const ProbabilityArray& sum, const std::vector<float>& weight, int height, int width,
                                  int row) {
    const std::size_t classes = static_cast<std::size_t>(P::classes);
    ProbabilityArray result =
        ProbabilityArray::from_shape({static_cast<std::size_t>(height), static_cast<std::size_t>(width), classes});
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const std::size_t from =
            static_cast<std::size_t>(y) * static_cast<std::size_t>(row) + static_cast<std::size_t>(x);
        const std::size_t to =
            static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x);
        for (std::size_t c = 0; c < classes; ++c)
          result.data()[to * classes + c] = sum.data()[from * classes + c] / weight[from];
      }
    return result;
  }

  BlendOptions options_;
  Predictor<P, B> predictor_;
  ImageArray tile_ =
      ImageArray::from_shape({static_cast<std::size_t>(tile_height), static_cast<std::size_t>(tile_width),
                              static_cast<std::size_t>(P::input_shape.channels)});
};

/// Class indices by blended windows of the model's own extent.
template <Backend B, class ModelType>
LabelArray segment_blended(ModelType& model, const ImageArray& image, BlendOptions options = {}) {
  BlendedSegmenter<typename ModelType::Program, B> segmenter{model, options};
  return segmenter.labels({image.data(), 1, static_cast<int>(image.shape()[0]), static_cast<int>(image.shape()[1]),
                           static_cast<int>(image.shape()[2])});
}

}  // namespace ulna
