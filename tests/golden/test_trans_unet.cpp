// SPDX-License-Identifier: MIT
// A small TransUNet against a golden file computed by PyTorch in double (tests/golden/README.md says what each tensor
// is).
#include "golden.hpp"
#include "ulna/model/trans_unet.hpp"

using namespace ulna;

namespace {

/// The golden model numbers decoder steps from the bottom.
std::string golden_name(std::string name) {
  const auto replace = [&name](const std::string& from, const std::string& to) {
    if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
  };
  if (name.starts_with("decoder.")) return "dec." + std::to_string('3' - name[8]) + ".block" + name.substr(9);
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
  golden::check_all<P>("transunet.safetensors", golden_name);
}
