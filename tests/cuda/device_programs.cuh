// SPDX-License-Identifier: MIT
// Whole programs on the device, for device_programs*.cu.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <memory>

#include "trace.hpp"
#include "ulna/cuda.hpp"

namespace ulna::testing {

/// A device whose recordings are not captured: each replay enqueues node by node.
class EagerPlatform : public cuda::DevicePlatform {
 public:
  using Recording = std::function<void()>;
  using DevicePlatform::DevicePlatform;

  Recording record(Recording work) const { return work; }
  void replay(const Recording& recording) const { recording(); }
};

template <class T, class A>
Trace trace_of(bool eager) {
  return eager ? trace<cuda::BasicDevice<T, A, EagerPlatform>>() : trace<cuda::Device<T, A>>();
}

/// A model that is trained and then predicts.
template <class B>
class Pupil {
 public:
  explicit Pupil(std::uint64_t seed)
      : model_{Seed{seed}},
        batch_(random_batch<TracedNet>(3, Seed{seed})),
        trainer_{model_, {.learning_rate = 0.05}, {.batch = 3, .clip_norm = 0.5, .seed = Seed{8}}} {}

  void step() { trainer_.step(batch_.image_view, batch_.label_view); }
  std::uint64_t hash() {
    Predictor<TracedNet, B> predictor{model_, 3};
    const auto logits = predictor.predict(batch_.image_view);
    const std::span numbers{logits.data, static_cast<std::size_t>(logits.shape.size() * logits.batch)};
    return hash_bytes(std::as_bytes(numbers), model_.hash());
  }

 private:
  Model<TracedNet> model_;
  RandomBatch batch_;
  Trainer<TracedNet, DiceCrossEntropy, B, SGD> trainer_;
};

template <class B>
std::vector<std::uint64_t> hashes(int count, bool unlike, bool together) {
  const auto seed_of = [&](int i) { return static_cast<std::uint64_t>(unlike ? i + 1 : 1); };
  std::vector<std::unique_ptr<Pupil<B>>> pupils;
  std::vector<std::uint64_t> found;
  if (together) {
    for (int i = 0; i < count; ++i) pupils.push_back(std::make_unique<Pupil<B>>(seed_of(i)));
    for (int step = 0; step < 2; ++step)
      for (const auto& pupil : pupils) pupil->step();
    for (const auto& pupil : pupils) found.push_back(pupil->hash());
  } else {
    for (int i = 0; i < count; ++i) {
      Pupil<B> pupil(seed_of(i));
      pupil.step();
      pupil.step();
      found.push_back(pupil.hash());
    }
  }
  return found;
}

template <class B>
std::array<Profile, 2> profiles() {
  const RandomBatch batch = random_batch<TracedNet>(3);
  Model<TracedNet> model;
  Predictor<TracedNet, B> predictor{model, 3};
  const Profile inference = predictor.profile(batch.image_view, {.runs = 3});
  Trainer<TracedNet, DiceCrossEntropy, B, SGD> trainer{model, {}, {.batch = 3}};
  const std::uint64_t before = model.hash();
  const Profile training = trainer.profile(batch.image_view, batch.label_view, {}, {.runs = 3});
  if (model.hash() != before) throw Error("a profile changed the model");
  return {inference, training};
}

}  // namespace ulna::testing
