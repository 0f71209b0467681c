// SPDX-License-Identifier: MIT
// Training learns: on synthetic micrographs, in seconds, better than the best constant answer on images not seen.
#include <doctest/doctest.h>

#include "../support/batch.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/data/synthetic.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

constexpr int extent = 64;
constexpr int batch_size = 4;
using P = Program<UNet<Width<8>, Depth<2>>, Image<1, extent, extent>>;

struct Cells {
  std::vector<float> images;
  std::vector<std::uint8_t> labels;

  /// Micrographs `first` to `first + count`, grey values brought to about mean 0 and deviation 1.
  Cells(std::uint64_t first, int count) {
    for (int i = 0; i < count; ++i) {
      const Sample s = synthetic_cells(extent, extent, Seed{1}, first + static_cast<std::uint64_t>(i));
      for (const float v : s.image) images.push_back((v - 140.0f) / 40.0f);
      labels.insert(labels.end(), s.labels.begin(), s.labels.end());
    }
  }
  ImagesView images_of(int batch) const {
    return {images.data() + batch * batch_size * extent * extent, batch_size, extent, extent};
  }
  LabelsView labels_of(int batch) const {
    return {labels.data() + batch * batch_size * extent * extent, batch_size, extent, extent};
  }
};

}  // namespace

TEST_CASE("a small U-Net finds membranes") {
  constexpr int batches = 8;
  const Cells seen(0, batches * batch_size);
  const Cells unseen(1000, 2 * batch_size);
  Model<P> model{Seed{5}};
  Trainer<P, CrossEntropy, cpu::Tbb<float>> trainer{
      model, Adam{.learning_rate = 5e-3}, {.batch = batch_size, .schedule = schedule::cosine(120)}};
  double first = 0.0, last = 0.0;
  for (int i = 0; i < 120; ++i) {
    const double loss = trainer.step(seen.images_of(i % batches), seen.labels_of(i % batches)).loss;
    if (i < batches) first += loss / batches;
    if (i >= 120 - batches) last += loss / batches;
  }
  CHECK(last < 0.7 * first);

  Predictor<P, cpu::Tbb<float>> predictor{model, batch_size};
  std::size_t wrong = 0, membranes = 0;
  for (int i = 0; i < 2; ++i) {
    const Tensor<float> logits = predictor.predict(unseen.images_of(i));
    const std::uint8_t* label = unseen.labels_of(i).data;
    for (int n = 0; n < batch_size; ++n)
      for (std::ptrdiff_t p = 0; p < logits.pixels(); ++p, ++label) {
        const float* x = logits.pixel(n, p);
        wrong += (x[1] > x[0]) != (*label == 1);
        membranes += *label == 1;
      }
  }
  MESSAGE("wrong " << wrong << ", membranes " << membranes << " of " << unseen.labels.size() << "; loss " << first
                   << " to " << last);
  CHECK(static_cast<double>(wrong) < 0.8 * static_cast<double>(membranes));  // "no membrane anywhere" errs on these
}
