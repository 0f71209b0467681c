// SPDX-License-Identifier: MIT
#include "golden_on_device.cuh"

namespace ulna::testing {

template GoldenRun golden_on_device<golden::RecurrentUNet, CrossEntropy>(Precision, const GoldenInput&);
template GoldenRun golden_on_device<golden::GatedRecurrentUNet, BinaryCrossEntropy>(Precision, const GoldenInput&);

}  // namespace ulna::testing
