// SPDX-License-Identifier: MIT
// The run-time door: one handle for any network of a closed list, picked by name or by what a weights file says it is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "ulna/predict/blend.hpp"
#include "ulna/predict/segment.hpp"
#include "ulna/weights/sample.hpp"

namespace ulna {

/// Segments images of any size with a network that was chosen at run time. Made by a SegmenterList.
class AnySegmenter {
 public:
  /// The name of its entry in the list.
  const std::string& name() const { return name_; }
  /// What files of its network say in their metadata.
  std::uint64_t architecture() const { return network_->architecture(); }
  int channels() const { return network_->channels(); }  ///< of the images it takes
  int classes() const { return network_->classes(); }    ///< 1: the probability of the foreground
  /// Whether tiles equal the whole image to the bit. Networks that see the whole image are blended (blend.hpp).
  bool exact() const { return network_->exact(); }

  /// Probability of each class at each pixel, (height, width, classes). Images smaller than a tile are mirrored up to
  /// one. Throws DataError for wrong channels and values that are not finite.
  ProbabilityArray probabilities(const ImageArray& image) { return network_->probabilities(view(image)); }
  /// The most probable class of each pixel.
  LabelArray label(const ImageArray& image) { return detail::labels_of(probabilities(image)); }

  /// Other weights for the same network; `map` for those of other implementations. A sample in the file is checked when
  /// it has the extents of a tile. Throws FileError or WeightsError and stays as it was.
  void load(const std::filesystem::path& path, const NameMap& map = own_name) {
    network_->load(safetensors::File::open(path), map);
  }

 private:
  template <Backend B, class... Entries>
  friend struct SegmenterList;

  struct Network {
    virtual ~Network() = default;
    virtual std::uint64_t architecture() const = 0;
    virtual int channels() const = 0;
    virtual int classes() const = 0;
    virtual bool exact() const = 0;
    virtual ProbabilityArray probabilities(const ImagesView& image) = 0;
    virtual void load(const safetensors::File& file, const NameMap& map) = 0;
  };

  template <class P, Backend B>
  class Compiled;

  AnySegmenter(std::string name, std::unique_ptr<Network> network)
      : name_(std::move(name)), network_(std::move(network)) {}

  static ImagesView view(const ImageArray& image) {
    return {image.data(), 1, extent(image, 0), extent(image, 1), extent(image, 2)};
  }

  std::string name_;
  std::unique_ptr<Network> network_;
};

/// A program of the list, with its weights.
template <class P, Backend B>
class AnySegmenter::Compiled final : public Network {
 public:
  Compiled(Seed seed, B backend) : model_(seed), segmenter_(make(model_, std::move(backend))) {}

  std::uint64_t architecture() const override { return architecture_hash(P::inference.graph); }
  int channels() const override { return P::input_shape.channels; }
  int classes() const override { return P::classes; }
  bool exact() const override { return tiles_exactly; }
  ProbabilityArray probabilities(const ImagesView& image) override { return segmenter_->probabilities(image); }

  void load(const safetensors::File& file, const NameMap& map) override {
    Model<P, MasterOf<B>> candidate{zeros};
    load_weights(candidate, file, map);
    if (detail::has_sample_for<P>(file)) check_sample<B, P>(candidate, file);
    std::ranges::copy(candidate.parameters(), model_.mutable_parameters().begin());
    std::ranges::copy(candidate.state(), model_.mutable_state().begin());
  }

 private:
  static constexpr bool tiles_exactly = P::halo.bounded;
  using SegmenterType = std::conditional_t<tiles_exactly, Segmenter<P, B>, BlendedSegmenter<P, B>>;

  static std::unique_ptr<SegmenterType> make(Model<P, MasterOf<B>>& model, B backend) {
    if constexpr (tiles_exactly)
      return std::make_unique<SegmenterType>(model, SegmentOptions{.small_image = SmallImage::mirror},
                                             std::move(backend));
    else
      return std::make_unique<SegmenterType>(model, BlendOptions{}, std::move(backend));
  }

  Model<P, MasterOf<B>> model_;
  std::unique_ptr<SegmenterType> segmenter_;
};

/// A string literal as a template argument.
template <std::size_t Size>
struct Name {
  char text[Size]{};
  constexpr Name(const char (&literal)[Size]) { std::copy_n(literal, Size, text); }  // NOLINT: literals are names
  constexpr std::string_view view() const { return {text, Size - 1}; }
};

/// A compiled network of a SegmenterList. Its program's extents are those of a tile.
template <Name Label, class P>
struct Entry {
  static constexpr std::string_view name = Label.view();
  using Program = P;
};

namespace detail {
constexpr bool names_differ(std::initializer_list<std::string_view> names) {
  for (const auto* a = names.begin(); a != names.end(); ++a)
    if (a->empty() || std::find(names.begin(), a, *a) != a) return false;
  return true;
}
}  // namespace detail

/// The networks that a program offers at run time:
///   using Family = SegmenterList<cpu::Tbb<float>, Entry<"unet", ProgramA>, Entry<"unet++", ProgramB>>;
///   AnySegmenter s = Family::open("weights.safetensors");
template <Backend B, class... Entries>
struct SegmenterList {
  static_assert(sizeof...(Entries) >= 1, "SegmenterList: name at least one Entry");
  static_assert(detail::names_differ({Entries::name...}),
                "SegmenterList: two entries have the same name, or one has none");

  /// The network called `name`, with random weights until load(). Throws ArgumentError with the names there are.
  static AnySegmenter make(std::string_view name, Seed seed = {}, const B& backend = {}) {
    std::unique_ptr<AnySegmenter::Network> network;
    (void)((Entries::name == name &&
            (network = std::make_unique<AnySegmenter::Compiled<typename Entries::Program, B>>(seed, backend), true)) ||
           ...);
    if (network) return {std::string(name), std::move(network)};
    throw ArgumentError("no network is called '" + std::string(name) + "'; there are " + names());
  }

  /// The network that wrote the file, with its weights; the first, where several entries are one network with tiles of
  /// different extents. Throws FileError, and WeightsError with the list when the file is of none of these networks.
  static AnySegmenter open(const std::filesystem::path& path, const B& backend = {}) {
    const auto file = safetensors::File::open(path);
    const auto said = file.metadata().find("architecture");
    if (said == file.metadata().end())
      throw WeightsError(file.name() +
                         ": does not say of which architecture it is; choose by name and load it, if need be "
                         "through a name map. There are " +
                         names());
    std::string_view name;
    (void)((said->second == hash_of<typename Entries::Program>() && (name = Entries::name, true)) || ...);
    if (name.empty())
      throw WeightsError(file.name() + ": is of architecture " + said->second +
                         ", which is none of these networks: " + names());
    AnySegmenter segmenter = make(name, {}, backend);
    segmenter.network_->load(file, own_name);
    return segmenter;
  }

  /// The names there are, each with its architecture: "unet (0123...), unet++ (4567...)".
  static std::string names() {
    std::string text;
    ((text +=
      (text.empty() ? "" : ", ") + std::string(Entries::name) + " (" + hash_of<typename Entries::Program>() + ")"),
     ...);
    return text;
  }

 private:
  template <class P>
  static std::string hash_of() {
    return detail::hexadecimal(architecture_hash(P::inference.graph));
  }
};

}  // namespace ulna
