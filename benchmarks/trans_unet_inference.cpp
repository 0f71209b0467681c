// SPDX-License-Identifier: MIT
// TransUNet R50-ViT-B/16 at 224x224 infers within the bytes that its type states: memory and time, on random weights.
// Fails when the process holds much more than parameters, stated bytes and a few megabytes of scratch.
// Also one of the files whose compilation compile_time.sh measures.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/model/trans_unet.hpp>
#include <ulna/predict/predictor.hpp>
#include <vector>

using Program = ulna::Program<ulna::TransUNet<>, ulna::Image<1, 224, 224>>;
static_assert(Program::parameter_count == 105'277'081);
static_assert(Program::inference_bytes(1) < 104'000'000);

int main() try {
  std::vector<float> pixels(224 * 224);
  ulna::Random random{ulna::Seed{7}};
  for (float& v : pixels) v = random.normal();
  const ulna::ImagesView image{pixels, 1, 224, 224};

  ulna::Model<Program> model{ulna::Seed{7}};
  ulna::Predictor<Program, ulna::cpu::Tbb<float>> predictor{model};
  std::printf("first logit %g\n", static_cast<double>(*predictor.predict(image).data));  // evaluates derived weights
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    predictor.predict(image);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  const auto held = static_cast<std::int64_t>(predictor.bytes());
  const std::int64_t stated = Program::inference_bytes(1);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const std::int64_t peak = std::int64_t{usage.ru_maxrss} * 1024;
  constexpr std::int64_t scratch = 16'000'000;
  constexpr std::int64_t program = 32'000'000;  // code, libraries, threads
  const auto megabytes = [](std::int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  std::printf("time        %8.1f ms, %.1f GMAC, the best of 5\n", 1e3 * best, static_cast<double>(Program::macs) / 1e9);
  std::printf("parameters  %8.1f MB\n", megabytes(4 * Program::parameter_count));
  std::printf("stated      %8.1f MB for activations and derived weights\n", megabytes(stated));
  std::printf("held        %8.1f MB, of which scratch of kernels %.1f MB\n", megabytes(held), megabytes(held - stated));
  std::printf("process     %8.1f MB at its peak\n", megabytes(peak));
  return held <= stated + scratch && peak <= 4 * Program::parameter_count + held + program ? 0 : 1;
} catch (const ulna::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
