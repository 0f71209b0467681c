// SPDX-License-Identifier: MIT
// All of Ulna but CUDA in a file that nvcc compiles, and a network that such a file runs on the processor.
#include <ulna/ulna.hpp>

using Net = ulna::Program<ulna::UNet<ulna::Width<4>, ulna::Depth<1>>, ulna::Image<1, 16, 16>>;

float first_logit(ulna::Model<Net>& model, const ulna::ImagesView& image) {
  ulna::Predictor<Net, ulna::cpu::Tbb<float>> predictor{model};
  return *predictor.predict(image).data;
}
