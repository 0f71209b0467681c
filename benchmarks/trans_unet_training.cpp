// SPDX-License-Identifier: MIT
// One training step of TransUNet R50-ViT-B/16 at 224x224 from random weights: memory and time. Also one of the files
// whose compilation compile_time.sh measures.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/model/trans_unet.hpp>
#include <ulna/train/trainer.hpp>
#include <vector>

using Program = ulna::Program<ulna::TransUNet<>, ulna::Image<1, 224, 224>>;
using Trainer = ulna::Trainer<Program, ulna::DiceCrossEntropy, ulna::cpu::Tbb<float>>;

int main() try {
  std::vector<float> pixels(224 * 224);
  std::vector<std::uint8_t> classes(pixels.size());
  ulna::Random random{ulna::Seed{7}};
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = random.normal();
    classes[i] = pixels[i] > 0.0f ? 1 : 0;
  }
  ulna::Model<Program> model{ulna::Seed{7}};
  Trainer trainer{model, {}, {.batch = 1}};
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double loss = trainer.step({pixels, 1, 224, 224}, {classes, 1, 224, 224}).loss;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("loss %.4f after %.0f ms\n", loss, 1e3 * seconds);
  }
  std::printf("stated %.1f MB for activations, held %.1f MB with scratch, gradients and the optimizer's memory\n",
              static_cast<double>(Trainer::Training::training_bytes(1)) / 1e6,
              static_cast<double>(trainer.bytes()) / 1e6);
} catch (const ulna::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
