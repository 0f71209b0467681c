// SPDX-License-Identifier: MIT
// The statistics of instance norm are those of the whole image: no tile has them.
// expect: "exact tiling is impossible" "instance or group norm" "Use segment_blended, or batch norm"
#include <ulna/backend/eigen/eigen.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/predict/segment.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Norm = ulna::norm::Batch;
#else
using Norm = ulna::norm::Instance<>;
#endif

using Program = ulna::Program<ulna::UNet<ulna::Width<8>, ulna::Depth<1>, Norm>, ulna::Image<1, 32, 32>>;
using Segmenter = ulna::Segmenter<Program, ulna::cpu::Eigen<float>>;
static_assert(sizeof(Segmenter) > 0);
