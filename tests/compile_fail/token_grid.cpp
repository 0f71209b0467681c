// SPDX-License-Identifier: MIT
// Learned positions belong to a grid of tokens: 4 x 4 and 2 x 8 have as many, and are not the same.
// expect: "TransUNet/patches/position: a map of 2 x 8 in this program, of 4 x 4 in the model" "ulna::at_extent"
#include <ulna/backend/eigen/eigen.hpp>
#include <ulna/model/trans_unet.hpp>
#include <ulna/predict/predictor.hpp>

using namespace ulna;

#ifdef ULNA_POSITIVE_CONTROL
constexpr int height = 32, width = 32;
#else
constexpr int height = 16, width = 64;
#endif

using Net = TransUNet<encoder::Patches<8>, Hidden<8>, Layers<1>, Heads<2>, Mlp<8>, Bridge<8>, Decoder<8, 8, 8>>;
using Trained = Program<Net, Image<1, 32, 32>>;
using Here = Program<Net, Image<1, height, width>>;

void predict(Model<Trained>& model) { Predictor<Here, cpu::Eigen<float>> predictor{model}; }
