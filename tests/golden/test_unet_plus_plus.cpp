// SPDX-License-Identifier: MIT
// U-Net++ against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is).
#include "golden.hpp"
#include "names.hpp"
#include "networks.hpp"

using namespace ulna;

namespace {

template <class B>
void check_heads(const golden::File& f) {
  using T = typename B::Element;
  using P = golden::SupervisedUNetPlusPlus;
  Model<P, T> model;
  golden::fill(model, f.file(), golden::unet_plus_plus_name);
  const golden::Batch batch{f.file()};
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
  using Single = prune<4, golden::SupervisedNet>;
  golden::check_all<golden::SupervisedUNetPlusPlus, CrossEntropy, Program<Single, Image<1, 32, 48>>>(
      "unetpp_ds.safetensors", golden::unet_plus_plus_name);
}

TEST_CASE("every head") {
  const golden::File f{"unetpp_ds.safetensors"};
  check_heads<cpu::Eigen<double>>(f);
  check_heads<cpu::Eigen<float>>(f);
  check_heads<cpu::Tbb<float>>(f);
}

TEST_CASE("transposed convolutions, no norm, in the authors' order of concatenation") {
  golden::check_all<golden::PlainUNetPlusPlus>("unetpp_transpose_nonorm.safetensors", golden::unet_plus_plus_name);
}
