// SPDX-License-Identifier: MIT
// What `train` and `segment` agree on: the network, and how images are prepared and segmented.
#pragma once

#include <filesystem>
#include <string>
#include <ulna/data/image_file.hpp>
#include <ulna/ulna.hpp>

namespace example {

inline constexpr int width = 16;
inline constexpr int largest_class_count = 4;

template <int Classes>
using Net = ulna::UNet<ulna::Classes<Classes>, ulna::Width<width>, ulna::Depth<4>>;
/// A network on square crops of the training images.
template <int Classes, int Crop>
using Program = ulna::Program<Net<Classes>, ulna::Image<1, Crop, Crop>>;

/// Where a program runs: `Backend` trains, and segments an image of one tile; `TilingBackend` overlaps tiles least,
/// which pays where an image needs several.
struct OnProcessor {
  using Backend = ulna::cpu::Tbb<float>;
  using TilingBackend = ulna::cpu::Tbb<float, ulna::arithmetic::Direct>;
};

/// Two tile sizes: small images in one small tile, larger ones in large tiles, whose halo costs less.
inline constexpr int small_tile = 256;
inline constexpr int large_tile = 512;

/// Segments images of any size, each with the tile that suits it.
template <class Model, class Where = OnProcessor>
class AnySize {
 public:
  AnySize(Model& model, ulna::SegmentOptions options) : model_(model), options_(options) {}

  ulna::ProbabilityArray probabilities(const ulna::ImageArray& image) {
    const ulna::ImagesView view{image.data(), 1, ulna::extent(image, 0), ulna::extent(image, 1),
                                ulna::extent(image, 2)};
    if (view.height <= small_tile && view.width <= small_tile) return get(small_).probabilities(view);
    return get(large_).probabilities(view);
  }

  ulna::LabelArray labels(const ulna::ImageArray& image) { return ulna::detail::labels_of(probabilities(image)); }

 private:
  template <class B, int Tile>
  using Segmenter = ulna::Segmenter<ulna::TileProgram<Model, B, Tile>, B>;

  /// A segmenter holds the memory of its tile, so it is made when it is first needed.
  template <class S>
  S& get(std::unique_ptr<S>& segmenter) {
    if (!segmenter) segmenter = std::make_unique<S>(model_, options_);
    return *segmenter;
  }

  Model& model_;
  ulna::SegmentOptions options_;
  std::unique_ptr<Segmenter<typename Where::Backend, small_tile>> small_;
  std::unique_ptr<Segmenter<typename Where::TilingBackend, large_tile>> large_;
};

/// One channel (luminance), zero mean and unit deviation.
inline ulna::ImageArray prepared(ulna::ImageArray image, const std::string& name) {
  ulna::normalize(image, ulna::ZScore{}, name);
  return image;
}

/// Calls f.template operator()<Classes>() for a class count known only now.
template <int Classes = 2>
auto with_classes(int classes, auto&& f) {
  if constexpr (Classes < largest_class_count) {
    if (classes != Classes) return with_classes<Classes + 1>(classes, f);
  } else if (classes != Classes) {
    throw ulna::ArgumentError("found " + std::to_string(classes) + " classes; this program was compiled for 2 to " +
                              std::to_string(largest_class_count) + " (example::largest_class_count)");
  }
  return f.template operator()<Classes>();
}

}  // namespace example
