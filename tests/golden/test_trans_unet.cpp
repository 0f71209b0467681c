// SPDX-License-Identifier: MIT
// A small TransUNet against a golden file computed by PyTorch in double (tests/golden/README.md says what each tensor
// is).
#include "golden.hpp"
#include "names.hpp"
#include "networks.hpp"

using namespace ulna;

namespace {

/// Other shapes, at inference and in double alone.
template <class P, int Steps = 4>
void check_output(const std::string& file) {
  golden::check_inference<P, cpu::Eigen<double>>(golden::File{file}, golden::trans_unet_name<Steps>);
}

}  // namespace

TEST_CASE("hybrid encoder, three skips") {
  static_assert(golden::HybridTransUNet::parameter_count == 79'911);
  golden::check_all<golden::HybridTransUNet>("transunet.safetensors", golden::trans_unet_name<>);
}

TEST_CASE("one skip, tokens that are not square, one channel") {
  check_output<golden::OneSkipTransUNet>("transunet_one_skip.safetensors");
}

TEST_CASE("patches of the image") { check_output<golden::PatchesTransUNet>("transunet_patches.safetensors"); }

TEST_CASE("two stages, odd widths, one class") {
  check_output<golden::TwoStagesTransUNet, 3>("transunet_two_stages.safetensors");
}
