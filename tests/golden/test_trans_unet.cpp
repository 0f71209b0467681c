// SPDX-License-Identifier: MIT
// A small TransUNet against a golden file computed by PyTorch in double (tests/golden/README.md says what each tensor
// is).
#include "golden.hpp"
#include "ulna/model/trans_unet.hpp"

using namespace ulna;

namespace {

/// The golden model numbers decoder steps from the bottom.
template <int Steps = 4>
std::string golden_name(std::string name) {
  const auto replace = [&name](const std::string& from, const std::string& to) {
    if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
  };
  if (name.starts_with("decoder."))
    return "dec." + std::to_string('0' + Steps - 1 - name[8]) + ".block" + name.substr(9);
  replace("stem.conv", "stem");
  replace("stem.norm", "stem_norm");
  replace(".unit", "");
  replace("projection.conv", "proj");
  replace("projection.norm", "norm_proj");
  replace("patches.conv", "patch");
  replace("patches.position", "pos");
  replace("transformer.layer", "layers");
  replace("transformer.norm", "norm");
  replace("attention", "attn");
  replace("mlp.", "");
  replace("bridge.", "bridge_");
  return name;
}

}  // namespace

TEST_CASE("hybrid encoder, three skips") {
  using Net = TransUNet<Classes<3>, Hidden<16>, Layers<2>, Heads<2>, Mlp<32>, Units<1, 1, 2>, Width<8>, Groups<4>,
                        Bridge<16>, Decoder<16, 8, 8, 4>, dropout::None>;
  using P = Program<Net, Image<3, 32, 32>>;
  static_assert(P::parameter_count == 79'911);
  golden::check_all<P>("transunet.safetensors", golden_name<>);
}

// Other shapes, at inference and in double alone.
namespace {

template <class Net, class Input, int Steps>
void check_output(const std::string& file) {
  golden::check_inference<Program<Net, Input>, cpu::Eigen<double>>(golden::File{file}, golden_name<Steps>);
}

}  // namespace

TEST_CASE("one skip, tokens that are not square, one channel") {
  using Net = TransUNet<Classes<2>, Hidden<12>, Layers<1>, Heads<3>, Mlp<10>, Units<1, 1, 1>, Width<4>, Groups<2>,
                        Bridge<6>, Decoder<8, 6, 4, 2>, Skips<1>>;
  check_output<Net, Image<1, 32, 48>, 4>("transunet_one_skip.safetensors");
}

TEST_CASE("patches of the image") {
  using Net = TransUNet<Classes<2>, encoder::Patches<>, Hidden<12>, Layers<1>, Heads<3>, Mlp<10>, Bridge<6>,
                        Decoder<8, 6, 4, 2>>;
  check_output<Net, Image<1, 32, 48>, 4>("transunet_patches.safetensors");
}

TEST_CASE("two stages, odd widths, one class") {
  using Net = TransUNet<Classes<1>, Hidden<15>, Layers<2>, Heads<5>, Mlp<7>, Units<1, 2>, Width<3>, Groups<3>,
                        Bridge<5>, Decoder<5, 3, 3>>;
  check_output<Net, Image<3, 24, 8>, 3>("transunet_two_stages.safetensors");
}
