// SPDX-License-Identifier: MIT
// Whole programs on the device, captured and replayed.
#include "trace.hpp"
#include "ulna/cuda.hpp"

namespace ulna::testing {

Trace trace_on_device(Products products) {
  return products == Products::exact ? trace<cuda::Device<float, cuda::arithmetic::Exact>>()
                                     : trace<cuda::Device<float, cuda::arithmetic::Tf32>>();
}

std::vector<std::uint64_t> hashes_on_device(int count) {
  using Device = cuda::Device<float, cuda::arithmetic::Tf32>;
  const RandomBatch batch = random_batch<TracedNet>(3);
  std::vector<std::uint64_t> hashes;
  for (int i = 0; i < count; ++i) {
    Model<TracedNet> model{Seed{1}};
    Trainer<TracedNet, DiceCrossEntropy, Device, SGD> trainer{
        model, {.learning_rate = 0.05}, {.batch = 3, .clip_norm = 0.5, .seed = Seed{8}}};
    trainer.step(batch.image_view, batch.label_view);
    Predictor<TracedNet, Device> predictor{model, 3};
    const auto logits = predictor.predict(batch.image_view);
    const std::span<const float> numbers{logits.data, static_cast<std::size_t>(logits.shape.size() * logits.batch)};
    hashes.push_back(hash_bytes(std::as_bytes(numbers), model.hash()));
  }
  return hashes;
}

}  // namespace ulna::testing
