// SPDX-License-Identifier: MIT
#include "golden_on_device.cuh"

namespace ulna::testing {

template GoldenRun golden_on_device<golden::HybridTransUNet, CrossEntropy>(Precision, const GoldenInput&);
template GoldenRun golden_on_device<golden::OneSkipTransUNet, void>(Precision, const GoldenInput&);
template GoldenRun golden_on_device<golden::PatchesTransUNet, void>(Precision, const GoldenInput&);
template GoldenRun golden_on_device<golden::TwoStagesTransUNet, void>(Precision, const GoldenInput&);

}  // namespace ulna::testing
