// SPDX-License-Identifier: MIT
// Whole networks on cpu::Tbb<float>: inference of the full-width U-Net, a training step of the small one that the
// examples use. GFLOP/s count the direct algorithm: two operations a multiply-accumulate, three passes for training.
#include <benchmark/benchmark.h>

#include <vector>

#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

namespace {

using namespace ulna;
using Backend = cpu::Tbb<float>;

std::vector<float> noise(std::size_t count) {
  std::vector<float> values(count);
  Random random{Seed{7}};
  for (float& v : values) v = random.normal();
  return values;
}

template <class P>
void inference(benchmark::State& state) {
  Model<P> model{Seed{7}};
  Predictor<P, Backend> predictor{model, 1, Backend{static_cast<int>(state.range(0))}};
  const auto image = noise(static_cast<std::size_t>(P::input_shape.size()));
  const ImagesView view{image.data(), 1, P::input_shape.height, P::input_shape.width, P::input_shape.channels};
  predictor.predict(view);  // folds the norms
  for (auto _ : state) benchmark::DoNotOptimize(*predictor.predict(view).data);
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * static_cast<double>(P::macs), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["MB"] = static_cast<double>(predictor.bytes()) * 1e-6;
}

template <class P, int Batch>
void training_step(benchmark::State& state) {
  Model<P> model{Seed{7}};
  Trainer<P, DiceCrossEntropy, Backend> trainer{model, {}, {.batch = Batch}, Backend{static_cast<int>(state.range(0))}};
  const auto images = noise(static_cast<std::size_t>(P::input_shape.size()) * Batch);
  std::vector<std::uint8_t> labels(images.size());
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = images[i] > 0.0f ? 1 : 0;
  const ImagesView x{images.data(), Batch, P::input_shape.height, P::input_shape.width};
  const LabelsView y{labels.data(), Batch, P::input_shape.height, P::input_shape.width};
  for (auto _ : state) benchmark::DoNotOptimize(trainer.step(x, y).loss);
  state.counters["GFLOP/s"] =
      benchmark::Counter(6e-9 * Batch * static_cast<double>(P::macs), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["MB"] = static_cast<double>(trainer.bytes()) * 1e-6;
}

using Full = Program<UNet<>, Image<1, 512, 512>>;
using Small = Program<UNet<Width<16>>, Image<1, 256, 256>>;

BENCHMARK(inference<Full>)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(training_step<Small, 4>)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

