// SPDX-License-Identifier: MIT
// Labels as large as the image, for a network whose output is smaller.
// expect: "UNet/loss: the labels have height 188" "output has 4" "declare Labels<2, 4, 4>"
#include <ulna/backend/eigen/eigen.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/train/trainer.hpp>

using Program = ulna::Program<ulna::UNet<ulna::Width<8>, ulna::padding::Valid>, ulna::Image<1, 188, 188>>;

#ifdef ULNA_POSITIVE_CONTROL
using Labels = ulna::Labels<2, 4, 4>;
#else
using Labels = ulna::Labels<2, 188, 188>;
#endif

using Trainer = ulna::Trainer<Program, ulna::CrossEntropy, ulna::cpu::Eigen<float>, ulna::Adam, Labels>;
static_assert(Trainer::slot_count == 2);
