// SPDX-License-Identifier: MIT
// Segmentation of images of any size with bounded memory, equal to the bit to segmenting the whole image at once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "ulna/data/image.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/predict/tiling.hpp"

namespace ulna {

/// Probabilities or logits of an image, (height, width, classes).
using ProbabilityArray = xt::xtensor<float, 3>;

/// What to do with an image smaller than one tile.
enum class SmallImage : unsigned char {
  refuse,  ///< throw DataError
  mirror   ///< extend it by mirroring up to one tile
};

/// How an image is segmented.
struct SegmentOptions {
  SmallImage small_image = SmallImage::refuse;
  bool dihedral = false;  ///< mean probability over the 8 flips and right-angle turns (the U-Net paper's rotations)
};

namespace rule {
template <int halo>
struct tiles_can_be_exact {
  static_assert(halo >= 0,
                "Ulna: exact tiling is impossible: this network sees the whole image (instance or group norm, "
                "bilinear upsampling with align_corners, attention). Use segment_blended, or batch norm");
};
}  // namespace rule

namespace detail {

inline void require_image(const ImagesView& image, int channels, int tile_height, int tile_width,
                          SmallImage small_image) {
  if (image.channels != channels)
    throw DataError("segment: found an image of " + std::to_string(image.channels) + " channels, the network takes " +
                    std::to_string(channels));
  if (image.batch != 1)
    throw DataError("segment: found a batch of " + std::to_string(image.batch) + " images; give one image at a time");
  if (image.height < 1 || image.width < 1) throw DataError("segment: the image is empty");
  if (small_image == SmallImage::refuse && (image.height < tile_height || image.width < tile_width))
    throw DataError("segment: the image is " + std::to_string(image.height) + " x " + std::to_string(image.width) +
                    ", smaller than one tile of " + std::to_string(tile_height) + " x " + std::to_string(tile_width) +
                    "; use a smaller tile, or SmallImage::mirror to extend the image by mirroring");
  for (std::size_t i = 0; i < image.size(); ++i)
    if (!std::isfinite(image.data[i]))
      throw DataError("segment: found " + std::to_string(image.data[i]) + " at " +
                      position_text(i, image.height, image.width, image.channels) + "; every value must be finite");
}

/// Softmax of one pixel's logits, or the sigmoid of a single one.
template <class T>
void probabilities_of(const T* logits, int classes, float* p) {
  using Number = decltype(T{} + T{});  // float for bf16
  if (classes == 1) {
    p[0] = static_cast<float>(Number{1} / (Number{1} + std::exp(-logits[0])));
    return;
  }
  Number largest = logits[0];
  for (int c = 1; c < classes; ++c) largest = std::max<Number>(largest, logits[c]);
  Number sum{0};
  for (int c = 0; c < classes; ++c) sum += std::exp(logits[c] - largest);
  for (int c = 0; c < classes; ++c) p[c] = static_cast<float>(std::exp(logits[c] - largest) / sum);
}

/// Class indices of a probability map: the first largest, or p > 1/2 for one channel.
inline LabelArray labels_of(const ProbabilityArray& p) {
  const std::size_t classes = p.shape()[2];
  LabelArray labels = LabelArray::from_shape({p.shape()[0], p.shape()[1]});
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const float* v = p.data() + i * classes;
    std::size_t best = 0;
    for (std::size_t c = 1; c < classes; ++c)
      if (v[c] > v[best]) best = c;
    labels.data()[i] = classes == 1 ? static_cast<std::uint8_t>(v[0] > 0.5f) : static_cast<std::uint8_t>(best);
  }
  return labels;
}

}  // namespace detail

/// Segments images tile by tile. `P` is the program of one tile: the model's network on an extent of your choice.
template <class P, Backend B>
class Segmenter {
 public:
  using Element = typename B::Element;
  static_assert(sizeof(rule::tiles_can_be_exact < P::halo.bounded ? P::halo.pixels : -1 >) > 0);

  template <class ModelType>
  explicit Segmenter(ModelType& model, SegmentOptions options = {}, B backend = {})
      : options_(options), predictor_(model, 1, TileBackend<B>(std::move(backend))) {}

  /// Probability of each class at each pixel, (height, width, classes); one class: of the foreground, (height, width,
  /// 1). `image`: (1, height, width, channels). Throws DataError for wrong channels, non-finite pixels, small images.
  ProbabilityArray probabilities(const ImagesView& image) {
    detail::require_image(image, P::input_shape.channels, tile_height, tile_width, options_.small_image);
    if (!options_.dihedral) return upright(image);
    const std::size_t h = static_cast<std::size_t>(image.height);
    const std::size_t w = static_cast<std::size_t>(image.width);
    const std::size_t k = static_cast<std::size_t>(P::classes);
    ProbabilityArray mean = ProbabilityArray::from_shape({h, w, k});
    std::fill(mean.begin(), mean.end(), 0.0f);
    for (int turn = 0; turn < 8; ++turn) {
      const ImageArray turned = dihedral(image, turn);
      const ProbabilityArray p = upright(
          {turned.data(), 1, static_cast<int>(turned.shape()[0]), static_cast<int>(turned.shape()[1]), image.channels});
      add_turned_back(p, turn, mean);
    }
    for (float& v : mean) v *= 0.125f;
    return mean;
  }

  /// The most probable class of each pixel.
  LabelArray labels(const ImagesView& image) { return detail::labels_of(probabilities(image)); }

  /// Logits of the whole image, (height, width, classes): the same bits as those of a program as large as the image on
  /// TileBackend<B>.
  ProbabilityArray logits(const ImagesView& image) {
    detail::require_image(image, P::input_shape.channels, tile_height, tile_width, options_.small_image);
    return tiled(image, [](const Element* from, int classes, float* to) {
      for (int c = 0; c < classes; ++c) to[c] = static_cast<float>(from[c]);
    });
  }

  std::size_t bytes() const { return predictor_.bytes(); }

 private:
  static constexpr int tile_height = P::input_shape.height;
  static constexpr int tile_width = P::input_shape.width;

  static TileAxis axis(int input, int output, int length) {
    return {input, output, Tiling<P, B>::alignment, Tiling<P, B>::halo.pixels, length};
  }

  ProbabilityArray upright(const ImagesView& image) { return tiled(image, detail::probabilities_of<Element>); }

  /// Runs every tile and lets `write(logits, classes, destination)` fill each pixel of the result.
  template <class Write>
  ProbabilityArray tiled(const ImagesView& image, Write write) {
    constexpr int border_y = (P::input_shape.height - P::output_shape.height) / 2;
    constexpr int border_x = (P::input_shape.width - P::output_shape.width) / 2;
    const TileAxis ys = axis(P::input_shape.height, P::output_shape.height, image.height);
    const TileAxis xs = axis(P::input_shape.width, P::output_shape.width, image.width);
    require_step(ys);
    require_step(xs);
    ProbabilityArray result =
        ProbabilityArray::from_shape({static_cast<std::size_t>(image.height), static_cast<std::size_t>(image.width),
                                      static_cast<std::size_t>(P::classes)});
    for (int i = 0; i < ys.tiles(); ++i)
      for (int j = 0; j < xs.tiles(); ++j) {
        gather(image, ys.start(i) - border_y, xs.start(j) - border_x);
        const Tensor<Element> out = predictor_.predict({tile_.data(), 1, tile_height, tile_width, image.channels});
        for (int y = ys.first(i); y < ys.last(i); ++y)
          for (int x = xs.first(j); x < xs.last(j); ++x)
            write(out.row(0, y - ys.start(i)) + (x - xs.start(j)) * out.pixel_stride, P::classes,
                  result.data() + (std::ptrdiff_t{y} * image.width + x) * P::classes);
      }
    return result;
  }

  static void require_step(const TileAxis& a) {
    if (!a.fits_in_one() && a.step() <= 0)
      throw DataError(
          "segment: an image of " + std::to_string(a.length) + " pixels does not fit one tile of " +
          std::to_string(a.input) + ", and tiles of that size cannot be joined exactly: the network's halo is " +
          std::to_string(Tiling<P, B>::halo.pixels) + " pixels on each side; use tiles of at least " +
          std::to_string(2 * (a.rim + a.border()) + a.alignment) +
          (Tiling<P, B>::halo.pixels > P::halo.pixels ? ", or arithmetic::Direct, whose halo is smaller" : ""));
  }

  /// Copies the tile at (top, left) of the mirrored image.
  void gather(const ImagesView& image, int top, int left) {
    const std::size_t channels = static_cast<std::size_t>(image.channels);
    float* to = tile_.data();
    for (int y = 0; y < tile_height; ++y) {
      const float* row = image.data + static_cast<std::size_t>(mirrored(top + y, image.height)) *
                                          static_cast<std::size_t>(image.width) * channels;
      for (int x = 0; x < tile_width; ++x) {
        const float* pixel = row + static_cast<std::size_t>(mirrored(left + x, image.width)) * channels;
        to = std::copy(pixel, pixel + channels, to);
      }
    }
  }

  /// Turn t of the dihedral group: transpose if t & 4, then flip rows if t & 2, then flip columns if t & 1.
  static ImageArray dihedral(const ImagesView& image, int t) {
    const bool transposed = (t & 4) != 0;
    const int h = transposed ? image.width : image.height;
    const int w = transposed ? image.height : image.width;
    ImageArray turned = ImageArray::from_shape(
        {static_cast<std::size_t>(h), static_cast<std::size_t>(w), static_cast<std::size_t>(image.channels)});
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x) {
        const std::ptrdiff_t from = source(y, x, h, w, t, image.width);
        std::copy(image.data + from * image.channels, image.data + (from + 1) * image.channels,
                  turned.data() + (std::ptrdiff_t{y} * w + x) * image.channels);
      }
    return turned;
  }

  /// The pixel index in the upright image that pixel (y, x) of turn t shows.
  static std::ptrdiff_t source(int y, int x, int h, int w, int t, int upright_width) {
    if ((t & 1) != 0) x = w - 1 - x;
    if ((t & 2) != 0) y = h - 1 - y;
    if ((t & 4) != 0) std::swap(x, y);
    return std::ptrdiff_t{y} * upright_width + x;
  }

  static void add_turned_back(const ProbabilityArray& p, int t, ProbabilityArray& sum) {
    const int h = static_cast<int>(p.shape()[0]);
    const int w = static_cast<int>(p.shape()[1]);
    const int upright_width = static_cast<int>(sum.shape()[1]);
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x) {
        const std::ptrdiff_t to = source(y, x, h, w, t, upright_width);
        for (int c = 0; c < P::classes; ++c)
          sum.data()[to * P::classes + c] += p.data()[(std::ptrdiff_t{y} * w + x) * P::classes + c];
      }
  }

  SegmentOptions options_;
  Predictor<P, TileBackend<B>> predictor_;
  ImageArray tile_ =
      ImageArray::from_shape({static_cast<std::size_t>(tile_height), static_cast<std::size_t>(tile_width),
                              static_cast<std::size_t>(P::input_shape.channels)});
};

/// The program that `segment` runs for a tile: the model's network on `Tile` pixels square, or on a good tile for B.
template <class ModelType, class B, int Tile = 0>
using TileProgram = typename ModelType::Program::template At<
    Image<ModelType::Program::input_shape.channels,
          Tile != 0 ? Tile : default_tile<typename ModelType::Program, B>(Axis::height),
          Tile != 0 ? Tile : default_tile<typename ModelType::Program, B>(Axis::width)>>;

/// Class indices of an image of any size: `segment<cpu::Tbb<float>>(model, image)`. For many images keep a Segmenter.
template <Backend B, int Tile = 0, class ModelType>
LabelArray segment(ModelType& model, const ImageArray& image,
                   SegmentOptions options = {.small_image = SmallImage::mirror}) {
  Segmenter<TileProgram<ModelType, B, Tile>, B> segmenter{model, options};
  return segmenter.labels({image.data(), 1, static_cast<int>(image.shape()[0]), static_cast<int>(image.shape()[1]),
                           static_cast<int>(image.shape()[2])});
}

}  // namespace ulna
