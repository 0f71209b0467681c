// SPDX-License-Identifier: MIT
// Labels with three classes, for a network with two logits a pixel.
// expect: "UNet/loss: the labels have class count 3" "output has 2" "declare Labels<2, 32, 32>"
#include <ulna/backend/eigen/eigen.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/train/trainer.hpp>

using Program = ulna::Program<ulna::UNet<ulna::Classes<2>, ulna::Width<8>>, ulna::Image<1, 32, 32>>;

#ifdef ULNA_POSITIVE_CONTROL
using Labels = ulna::Labels<2, 32, 32>;
#else
using Labels = ulna::Labels<3, 32, 32>;
#endif

using Trainer = ulna::Trainer<Program, ulna::CrossEntropy, ulna::cpu::Eigen<float>, ulna::Adam, Labels>;
static_assert(Trainer::slot_count == 2);
