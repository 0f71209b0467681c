// SPDX-License-Identifier: MIT
// What compile_time.sh measures: one file that trains the deeply supervised U-Net++ at 256x256, and infers with it.
#include <cstdint>
#include <iostream>
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/model/unet_plus_plus.hpp>
#include <ulna/predict/predictor.hpp>
#include <ulna/train/trainer.hpp>
#include <vector>

using Net = ulna::UNetPlusPlus<ulna::DeepSupervision<>>;
using Program = ulna::Program<Net, ulna::Image<1, 256, 256>>;
using Backend = ulna::cpu::Tbb<float>;

int main() try {
  std::vector<float> pixels(256 * 256);
  std::vector<std::uint8_t> classes(256 * 256);
  ulna::Random random{ulna::Seed{7}};
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = random.normal();
    classes[i] = pixels[i] > 0.0f ? 1 : 0;
  }
  const ulna::ImagesView image{pixels, 1, 256, 256};
  const ulna::LabelsView labels{classes, 1, 256, 256};

  ulna::Model<Program> model{ulna::Seed{7}};
  {
    ulna::Trainer<Program, ulna::DiceCrossEntropy, Backend> trainer{model, {}, {.batch = 1}};
    std::cout << "loss " << trainer.step(image, labels).loss << '\n';
  }
  ulna::Predictor<Program, Backend> predictor{model};
  std::cout << "first logit " << *predictor.predict(image).data << '\n';
} catch (const ulna::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
