// SPDX-License-Identifier: MIT
// On a machine with a device: every golden file, in every precision.
#include "../golden/names.hpp"
#include "../golden/networks.hpp"
#include "golden_checks.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

const bool here = why_no_device().empty();

template <class P, class Loss = CrossEntropy>
void check(const char* file, const NameMap& map) {
  check_golden<P, Loss>(file, map, golden_on_device<P, Loss>);
}

}  // namespace

TEST_CASE("golden U-Nets on the device" * doctest::skip(!here)) {
  check<golden::SameUNet>("unet_bn_transpose.safetensors", golden::unet_names(3));
  check<golden::ValidUNet>("unet_valid_nonorm.safetensors", golden::unet_names(2));
  check<golden::OddUNet>("unet_bn_transpose_odd.safetensors", golden::unet_names(2));
}

TEST_CASE("golden Attention U-Net on the device" * doctest::skip(!here)) {
  check<golden::GatedUNet>("attention_unet.safetensors", golden::unet_names(3));
}

TEST_CASE("golden R2U-Nets on the device" * doctest::skip(!here)) {
  check<golden::RecurrentUNet>("r2unet.safetensors", golden::unet_names(2));
  check<golden::GatedRecurrentUNet, BinaryCrossEntropy>("r2attunet_bce.safetensors", golden::unet_names(1));
}

TEST_CASE("golden U-Net++ on the device" * doctest::skip(!here)) {
  check<golden::SupervisedUNetPlusPlus>("unetpp_ds.safetensors", golden::unet_plus_plus_name);
  check<golden::PlainUNetPlusPlus>("unetpp_transpose_nonorm.safetensors", golden::unet_plus_plus_name);
}

TEST_CASE("golden TransUNets on the device" * doctest::skip(!here)) {
  check<golden::HybridTransUNet>("transunet.safetensors", golden::trans_unet_name<>);
  check<golden::OneSkipTransUNet, void>("transunet_one_skip.safetensors", golden::trans_unet_name<>);
  check<golden::PatchesTransUNet, void>("transunet_patches.safetensors", golden::trans_unet_name<>);
  check<golden::TwoStagesTransUNet, void>("transunet_two_stages.safetensors", golden::trans_unet_name<3>);
}
