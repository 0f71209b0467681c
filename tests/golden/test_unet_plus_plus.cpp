// SPDX-License-Identifier: MIT
// U-Net++ against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is).
#include "golden.hpp"
#include "ulna/model/unet_plus_plus.hpp"

using namespace ulna;

namespace {

/// level.1.node.2.conv1.weight -> node.1_2.conv1.weight, level.1.node.2.up.weight -> up.1_2.weight, head.4 -> head.3.
std::string golden_name(const std::string& name) {
  if (name.starts_with("head.")) {
    const bool numbered = name[5] >= '1' && name[5] <= '9';
    return numbered ? std::string("head.") + static_cast<char>(name[5] - 1) + name.substr(6)
                    : "head.0" + name.substr(4);
  }
  const std::string place = std::string(1, name[6]) + "_" + name[13];
  const std::string rest = name.substr(14);
  return rest.starts_with(".up.") ? "up." + place + rest.substr(3) : "node." + place + rest;
}

using Supervised = UNetPlusPlus<Classes<3>, Widths<4, 6, 8, 10, 12>, ConvBias<true>, DeepSupervision<heads::Last>>;

template <class B>
void check_heads(const golden::File& f) {
  using T = typename B::Element;
  using P = Program<Supervised, Image<1, 32, 48>>;
  Model<P, T> model;
  golden::fill(model, f, golden_name);
  const golden::Batch batch{f};
  Predictor<P, B> predictor{model, batch.image_view.batch};
  predictor.predict(batch.image_view);
  for (int j = 1; j <= 4; ++j)
    f.compare<T>("head " + std::to_string(j), "output_eval",
                 golden::channels_first(predictor.published("head[" + std::to_string(j) + "]/logits")),
                 f.values("output_eval." + std::to_string(j - 1)));
}

}  // namespace

TEST_CASE("deep supervision, batch norm, bilinear, in the popular order of concatenation") {
  // the last head alone, for the losses that the file takes on it
  using Single = prune<4, Supervised>;
  golden::check_all<Program<Supervised, Image<1, 32, 48>>, CrossEntropy, Program<Single, Image<1, 32, 48>>>(
      "unetpp_ds.safetensors", golden_name);
}

TEST_CASE("every head") {
  const golden::File f{"unetpp_ds.safetensors"};
  check_heads<cpu::Eigen<double>>(f);
  check_heads<cpu::Eigen<float>>(f);
  check_heads<cpu::Tbb<float>>(f);
}

TEST_CASE("transposed convolutions, no norm, in the authors' order of concatenation") {
  using Net = UNetPlusPlus<Classes<2>, Widths<4, 8, 12>, norm::None, up::Transposed, skip::ConcatUpFirst>;
  golden::check_all<Program<Net, Image<1, 32, 32>>>("unetpp_transpose_nonorm.safetensors", golden_name);
}
