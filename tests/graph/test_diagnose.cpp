// SPDX-License-Identifier: MIT
// What is said of networks that do not fit their input: as values here, as compile errors in tests/compile_fail.
#include <doctest/doctest.h>

#include <string_view>

#include "ulna/model/unet.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

constexpr std::string_view text(const Diagnostic& d) {
  return {d.sentence.values, static_cast<std::size_t>(d.sentence.count)};
}

template <class Net, int Height, int Width = Height, int Channels = 1>
constexpr Diagnostic said = detail::diagnose<Net>({Channels, 1, Height, Width});

using Net = UNet<ulna::Width<4>>;

// --- extents that do not halve

static_assert(!said<Net, 96>);
static_assert(said<Net, 125>.rule == RuleKind::extent_must_divide);
static_assert(said<Net, 125>.found == 125 && said<Net, 125>.required == 2);
static_assert(text(said<Net, 125>) ==
              "UNet/encoder[0]/pool: height 125 is not divisible by 2; make the input height a multiple of 16: 112 or "
              "128 instead of 125");
static_assert(text(said<Net, 1000>) ==
              "UNet/encoder[3]/pool: height 125 is not divisible by 2; make the input height a multiple of 16: 992 or "
              "1008 instead of 1000");
// Each axis that needs another extent is named.
static_assert(text(said<Net, 96, 100>) ==
              "UNet/encoder[2]/pool: width 25 is not divisible by 2; make the input width a multiple of 16: 96 or 112 "
              "instead of 100");
// Extents of valid networks are not multiples of anything.
using Paper = UNet<ulna::Width<4>, padding::Valid, norm::None>;
static_assert(!said<Paper, 572>);
static_assert(text(said<Paper, 571>) ==
              "UNet/encoder[0]/pool: height 567 is not divisible by 2; make the input height 556 or 572 instead of "
              "571");
// A strided convolution asks for the same as a pool.
static_assert(text(said<UNet<ulna::Width<4>, Depth<1>, down::StridedConv>, 7>) ==
              "UNet/encoder[0]/down: height 7 is not divisible by 2; make the input height a multiple of 2: 6 or 8 "
              "instead of 7");

// --- kernels that do not fit

static_assert(said<Sequential<Conv<2, 7, 1, padding::Valid>>, 5>.rule == RuleKind::kernel_must_fit);
static_assert(text(said<Sequential<Conv<2, 7, 1, padding::Valid>>, 5>) ==
              "Network/layer[0]/conv: the kernel spans 7 pixels but the padded height is 5; use a smaller kernel, less "
              "depth, more padding or a larger input");
static_assert(said<Paper, 20>.rule == RuleKind::kernel_must_fit);
static_assert(text(said<Conv<2, 7, 1, padding::Reflect>, 3>).find("mirroring 3 pixels needs a height of at least 4") !=
              std::string_view::npos);
static_assert(!said<Conv<2, 7, 1, padding::Reflect>, 4>);
static_assert(!said<Conv<2, 7>, 1>);

// --- values that cannot be joined

struct AddChannels {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("join");
    return op::add(b, layer::conv(b, x, {.channels = 3}, "a"), layer::conv(b, x, {.channels = 5}, "b"));
  }
};
static_assert(said<AddChannels, 8>.rule == RuleKind::channels_must_match);
static_assert(said<AddChannels, 8>.found == 3 && said<AddChannels, 8>.required == 5);
static_assert(text(said<AddChannels, 8>) ==
              "Network/join: add: inputs differ in channels, 3 against 5; give both the same number of channels, with "
              "a 1x1 convolution for example");

using HalfConcat = Concat<Identity, MaxPool<2>>;
static_assert(said<HalfConcat, 8>.rule == RuleKind::extents_must_match);
static_assert(text(said<HalfConcat, 8>).starts_with("Network/concat: concat: inputs differ in height, 8 against 4"));

using Groups = Sequential<Conv<6>, norm::Group<4>>;
static_assert(said<Groups, 8>.rule == RuleKind::channels_must_divide);
static_assert(text(said<Groups, 8>) ==
              "Network/layer[1]/norm: 6 channels cannot be split into 4 equal groups; choose a number of groups that "
              "divides the channels");
static_assert(!said<Sequential<Conv<8>, norm::Group<4>>, 8>);
static_assert(!said<Sequential<Conv<3>, norm::Group<4>>, 8>);  // fewer channels than groups: one each

// The first broken rule is the one that is reported.
static_assert(text(said<Sequential<MaxPool<2>, Groups>, 7>).starts_with("Network/layer[0]/pool: height 7"));

// --- losses and labels

template <class N, class Loss>
constexpr Diagnostic training_said = detail::lower_training<N, Loss>({1, 1, 16, 16}).diagnostic;

using One = UNet<Classes<1>, ulna::Width<4>>;
static_assert(!training_said<Net, CrossEntropy>);
static_assert(!training_said<One, BinaryCrossEntropy>);
static_assert(text(training_said<One, CrossEntropy>).starts_with("UNet/loss: cross-entropy needs at least 2 logits"));
static_assert(text(training_said<Net, DiceBinaryCrossEntropy>)
                  .starts_with("UNet/loss: binary cross-entropy needs 1 logit a pixel, the network gives 2"));

using P = Program<UNet<Classes<3>, ulna::Width<4>, Depth<1>>, Image<1, 16, 24>>;
template <class L>
constexpr Diagnostic label_said = detail::diagnose_labels<P, CrossEntropy, L>();
static_assert(!label_said<Labels<3, 16, 24>>);
static_assert(text(label_said<Labels<3, 16, 16>>) ==
              "UNet/loss: the labels have width 16, the output has 24; declare Labels<3, 16, 24>");
static_assert(text(label_said<Labels<2, 16, 24>>) ==
              "UNet/loss: the labels have class count 2, the output has 3; declare Labels<3, 16, 24>");

}  // namespace

TEST_CASE("sentences are cut at their capacity, not beyond") {
  Sentence words;
  for (int i = 0; i < 200; ++i) words << "height " << -i;
  CHECK(words.size() <= Sentence::capacity);
  Sentence numbers;
  numbers << 0 << " " << -17 << " " << 2147483647;
  CHECK(std::string_view(numbers.values, static_cast<std::size_t>(numbers.size())) == "0 -17 2147483647");
}
