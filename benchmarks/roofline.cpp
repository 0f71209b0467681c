// SPDX-License-Identifier: MIT
// Where the time of the full-width U-Net goes, node by node, beside the machine's roofline: benchmarks/ROOFLINE.md.
//   roofline inference|training [THREADS]
#include <iostream>
#include <string>
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/predict/frozen.hpp>
#include <ulna/predict/predictor.hpp>
#include <ulna/train/trainer.hpp>

namespace {

using namespace ulna;
using Cpu = cpu::Tbb<float>;
using P = Program<UNet<>, Image<1, 512, 512>>;
constexpr int batch = 2;  // of training

std::vector<float> noise(int images) {
  std::vector<float> values(static_cast<std::size_t>(P::input_shape.size() * images));
  Random random{Seed{7}};
  for (float& v : values) v = random.normal();
  return values;
}

ImagesView images_of(const std::vector<float>& values, int count) {
  return {values.data(), count, P::input_shape.height, P::input_shape.width, P::input_shape.channels};
}

Profile inference(int threads) {
  auto model = pack<Cpu>(Model<P>{Seed{7}});
  Predictor<Packed<P, Cpu>, Cpu> predictor{model, 1, Cpu{threads}};
  const auto values = noise(1);
  return predictor.profile(images_of(values, 1), {.runs = 5});
}

Profile training(int threads) {
  Model<P> model{Seed{7}};
  Trainer<P, CrossEntropy, Cpu> trainer{model, {}, {.batch = batch}, Cpu{threads}};
  const auto values = noise(batch);
  std::vector<std::uint8_t> labels(values.size());
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = values[i] > 0.0f ? 1 : 0;
  return trainer.profile(images_of(values, batch), {labels.data(), batch, P::input_shape.height, P::input_shape.width},
                         {}, {.runs = 3});
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what != "inference" && what != "training") throw ArgumentError("say what to profile: inference or training");
  const int threads = argc > 2 ? std::stoi(argv[2]) : Cpu{}.threads();
  const Profile profile = what == "inference" ? inference(threads) : training(threads);
  std::cout << "U-Net of width 64 at 512 x 512, " << what << ", batch " << profile.batch << ", " << threads
            << " threads; machine: " << profile.machine.flops * 1e-9 << " GFLOP/s, "
            << profile.machine.bytes_per_second * 1e-9 << " GB/s\n"
            << profile.table();
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
