// SPDX-License-Identifier: MIT
// Trains the U-Net of width 64 at 512x512 for a step, and infers with it.
#pragma once

#include <cstdint>
#include <iostream>
#include <ulna/model/unet.hpp>
#include <ulna/predict/predictor.hpp>
#include <ulna/train/trainer.hpp>
#include <vector>

using Net = ulna::UNet<ulna::Classes<2>, ulna::Width<64>>;
using Program = ulna::Program<Net, ulna::Image<1, 512, 512>>;

template <class Backend>
int train_and_infer() try {
  std::vector<float> pixels(512 * 512);
  std::vector<std::uint8_t> classes(512 * 512);
  ulna::Random random{ulna::Seed{7}};
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = random.normal();
    classes[i] = pixels[i] > 0.0f ? 1 : 0;
  }
  const ulna::ImagesView image{pixels, 1, 512, 512};
  const ulna::LabelsView labels{classes, 1, 512, 512};

  ulna::Model<Program> model{ulna::Seed{7}};
  {
    ulna::Trainer<Program, ulna::DiceCrossEntropy, Backend> trainer{model, {}, {.batch = 1}};
    std::cout << "loss " << trainer.step(image, labels).loss << '\n';
  }
  ulna::Predictor<Program, Backend> predictor{model};
  std::cout << "first logit " << *predictor.predict(image).data << '\n';
  return 0;
} catch (const ulna::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
