// SPDX-License-Identifier: MIT
// Networks chosen at run time: by name, by file, and what is said when none fits.
#include <doctest/doctest.h>

#include "../data/temporary_folder.hpp"
#include "check_exact.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/published_unets.hpp"
#include "ulna/predict/any_segmenter.hpp"
#include "ulna/weights/name_maps/milesial.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;
using ulna::testing::random_image;

namespace {

using B = cpu::Eigen<float>;
template <class... Options>
using Net = UNet<Classes<3>, Width<4>, Depth<1>, Options...>;
using Plain = Program<Net<>, Image<2, 32, 24>>;
using Leaky = Program<Net<activation::LeakyReLU<>>, Image<2, 32, 24>>;           // the same tensors
using SeesAll = Program<Net<up::Bilinear<>, ConvBias<true>>, Image<2, 16, 16>>;  // no exact tiles
using Family = SegmenterList<B, Entry<"plain", Plain>, Entry<"leaky", Leaky>, Entry<"sees all", SeesAll>>;

ImagesView view(const ImageArray& image) {
  return {image.data(), 1, extent(image, 0), extent(image, 1), extent(image, 2)};
}

bool same(const ProbabilityArray& a, const ProbabilityArray& b) {
  return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin());
}

template <class P>
std::string hash_of() {
  return detail::hexadecimal(architecture_hash(P::inference.graph));
}

}  // namespace

TEST_CASE("a file picks the network that wrote it, whatever extents it was trained on") {
  const ulna::testing::TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  const ImageArray image = random_image(50, 37, 2, Seed{3});

  Model<Program<Net<>, Image<2, 8, 16>>> plain{Seed{1}};
  save_weights(plain, path);
  AnySegmenter found = Family::open(path);
  CHECK(found.name() == "plain");
  CHECK(found.exact());
  CHECK(found.channels() == 2);
  CHECK(found.classes() == 3);
  Segmenter<Plain, B> tiles{plain, {.small_image = SmallImage::mirror}};
  CHECK(same(found.probabilities(image), tiles.probabilities(view(image))));
  CHECK(found.label(image) == tiles.labels(view(image)));
  const ImageArray small = random_image(5, 7, 2, Seed{4});
  CHECK(extent(found.label(small), 0) == 5);

  save_weights(Model<Leaky>{Seed{1}}, path);
  CHECK(Family::open(path).name() == "leaky");

  Model<SeesAll> all{Seed{2}};
  save_weights(all, path);
  AnySegmenter blended = Family::open(path);
  CHECK(blended.name() == "sees all");
  CHECK_FALSE(blended.exact());
  BlendedSegmenter<SeesAll, B> windows{all};
  CHECK(same(blended.probabilities(image), windows.probabilities(view(image))));
}

TEST_CASE("by name, with weights of another implementation") {
  const ulna::testing::TemporaryFolder folder;
  const auto path = folder.path() / "theirs.safetensors";
  const ImageArray image = random_image(20, 30, 2, Seed{3});
  AnySegmenter chosen = Family::make("plain", Seed{9});
  Model<Plain> drawn{Seed{9}};
  Segmenter<Plain, B> segmenter{drawn, {.small_image = SmallImage::mirror}};
  CHECK(same(chosen.probabilities(image), segmenter.probabilities(view(image))));

  const auto map = name_maps::milesial(1);
  Model<Plain> trained{Seed{1}};
  save_weights(trained, path, {.map = map});
  CHECK_THROWS_AS(chosen.load(path), WeightsError);  // without the map, and nothing changes
  CHECK(same(chosen.probabilities(image), segmenter.probabilities(view(image))));
  chosen.load(path, map);
  Segmenter<Plain, B> expected{trained, {.small_image = SmallImage::mirror}};
  CHECK(same(chosen.probabilities(image), expected.probabilities(view(image))));
  AnySegmenter moved = std::move(chosen);
  CHECK(same(moved.probabilities(image), expected.probabilities(view(image))));
}

TEST_CASE("what does not fit is refused with the list") {
  const ulna::testing::TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  const std::string list =
      "plain (" + hash_of<Plain>() + "), leaky (" + hash_of<Leaky>() + "), sees all (" + hash_of<SeesAll>() + ")";
  CHECK(Family::names() == list);
  CHECK_THROWS_WITH_AS(Family::make("plane"), ("no network is called 'plane'; there are " + list).c_str(),
                       ArgumentError);
  CHECK_THROWS_AS(Family::make(""), ArgumentError);
  CHECK_THROWS_AS(Family::open(folder.path() / "missing.safetensors"), FileError);

  using Other = Program<UNet<Classes<3>, Width<5>, Depth<1>>, Image<2, 8, 8>>;
  save_weights(Model<Other>{}, path);
  CHECK_THROWS_WITH_AS(
      Family::open(path),
      (path.string() + ": is of architecture " + hash_of<Other>() + ", which is none of these networks: " + list)
          .c_str(),
      WeightsError);
  safetensors::Writer{}.save(path);
  CHECK_THROWS_WITH_AS(Family::open(path), doctest::Contains(list.c_str()), WeightsError);

  AnySegmenter plain = Family::make("plain");
  CHECK_THROWS_WITH_AS(plain.label(random_image(40, 40, 3, Seed{1})), doctest::Contains("3 channels"), DataError);
}

TEST_CASE("a sample in the file is checked where a tile can show it") {
  const ulna::testing::TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  Model<Plain> model{Seed{1}};
  save_weights_with_sample<B>(model, path);
  CHECK(Family::open(path).name() == "plain");
  // the same file with another output
  const auto file = safetensors::File::open(path);
  safetensors::Writer writer{file.metadata()};
  std::vector<std::vector<float>> kept;
  for (const auto& t : file.tensors()) {
    kept.push_back(t.to_vector<float>());
    if (t.name == "sample.output") kept.back()[5] += 1.0f;
    writer.add<float>(t.name, t.shape, kept.back());
  }
  const auto changed = folder.path() / "changed.safetensors";
  writer.save(changed);
  CHECK_THROWS_WITH_AS(Family::open(changed), doctest::Contains("something else of the file's sample"), WeightsError);
}
