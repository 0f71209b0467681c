// SPDX-License-Identifier: MIT
// Exact tiles on the CUDA backend, with the host in place of a device.
#include <algorithm>

#include "../../predict/check_exact.hpp"
#include "block_emulator.hpp"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/model/unet.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

template <class E>
using Device = cuda::BasicDevice<float, cuda::arithmetic::Exact, cuda::HostPlatform<E>>;

/// Computes no products, but notes into how many parts their sums were split.
struct SplitsOnly : cuda::EmulatedExecution {
  static inline int most = 0;
};
void run_tiles(const SplitsOnly&, const char*, const cuda::ProductPlan& plan, const auto&) {
  SplitsOnly::most = std::max(SplitsOnly::most, plan.splits);
}

}  // namespace

TEST_CASE("tiles on a device equal the whole image to the bit") {
  check_exact<Device<cuda::EmulatedExecution>, UNet<Width<4>, Depth<1>>, 24, 20, 37, 41>();
}

TEST_CASE("sums of tiles are never split, for how often would depend on the extent") {
  using Net = Program<UNet<Width<64>, Depth<1>>, Image<1, 32, 32>>;
  const ImageArray image = random_image(32, 32, 1);
  const ImagesView view{image.data(), 1, 32, 32, 1};
  Model<Net> model;
  Predictor<Net, Device<SplitsOnly>> whole{model};
  whole.predict(view);
  CHECK(SplitsOnly::most > 1);
  SplitsOnly::most = 0;
  Segmenter<Net, Device<SplitsOnly>> tiles{model};
  (void)tiles.logits(view);
  CHECK(SplitsOnly::most == 1);

  for (const int rows : {1, 100, 4096, 1 << 20})
    for (const int columns : {3, 64, 512})
      for (const int terms : {9, 576, 9216})
        for (const bool warpgroups : {false, true}) {
          const auto plan = cuda::plan_product({rows, columns, terms},
                                               {.vector = 8, .whole = true, .warpgroups = warpgroups, .split = false});
          CHECK(plan.splits == 1);
          CHECK(plan.steps_per_split * plan.splits * 8 * 8 >= terms);
        }
}
