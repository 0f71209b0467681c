// SPDX-License-Identifier: MIT
// Scratch lies in the arena: where no value lives while a kernel runs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/model.hpp"
#include "ulna/train/loss.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

/// Everything that a run of `Planned` on a batch leaves: output, loss and gradients. `spoil`: all scratch that a kernel
/// was given is overwritten before and after it.
template <class Planned, class B, class P>
std::vector<float> results(const Model<P>& from, const RandomBatch& batch, int max_batch, bool spoil) {
  using T = typename B::Element;
  constexpr const auto& C = Planned::compiled;
  Model<P> model = from.copy();
  std::vector<float> gradients(model.parameters().size());
  B backend{2};
  Executor<Planned, B> executor(backend, max_batch,
                                {model.mutable_parameters().data(), model.mutable_state().data(), gradients.data()});
  executor.bind(batch.image_view.batch);
  executor.run_once();
  detail::stage_finite(batch.image_view, executor.tensor(C.graph.image), "images");
  if (C.graph.labels >= 0) {
    const auto labels = held_as<float>(executor.tensor(C.graph.labels));
    std::copy(batch.labels.begin(), batch.labels.end(), labels.data);
  }
  executor.run_each([spoil](auto kernel, const Call<T>& call) {
    const auto overwrite = [&] { std::ranges::fill(call.scratch, std::byte{0xff}); };  // NaN
    if (spoil) overwrite();
    kernel(call);
    if (spoil) overwrite();
  });
  const auto y = executor.tensor(C.graph.output);
  std::vector<float> values;
  for (int n = 0; n < y.batch; ++n)
    for (std::ptrdiff_t i = 0; i < y.pixels(); ++i)
      for (int c = 0; c < y.shape.channels; ++c) values.push_back(static_cast<float>(y.pixel(n, i)[c]));
  if (C.graph.loss >= 0) values.push_back(*held_as<float>(executor.tensor(C.graph.loss)).data);
  values.insert(values.end(), gradients.begin(), gradients.end());
  return values;
}

using P = Program<UNet<Width<16>, Depth<2>>, Image<2, 32, 24>>;
using Training = TrainingProgram<P, CrossEntropy>;

template <class B>
void check_scratch() {
  const Model<P> model{Seed{3}};
  for (const int size : {1, 3}) {
    CAPTURE(size);
    const RandomBatch batch = random_batch<P>(size);
    for (const bool spoil : {false, true}) {
      CHECK((results<InferenceProgram<P>, B>(model, batch, size, false) ==
             results<InferenceProgram<P>, B>(model, batch, 3, spoil)));
      CHECK((results<Training, B>(model, batch, size, false) == results<Training, B>(model, batch, 3, spoil)));
    }
  }
}

}  // namespace

TEST_CASE("scratch never touches a value that lives, float") { check_scratch<cpu::Tbb<float>>(); }

TEST_CASE("scratch never touches a value that lives, bf16") { check_scratch<cpu::Tbb<bf16>>(); }

TEST_CASE("scratch lies at the end, in a gap, or makes the arena longer") {
  // A value that lives all along, and one each that lives at node 0 and at node 2, above and below it.
  const std::vector<Life> lives{{640, 1280, 0, 2}, {1280, 1920, 0, 0}, {0, 640, 2, 2}};
  std::byte arena[4096];
  const auto begin = [&](const SharedArena& shared, std::size_t node, int batch) {
    return shared.scratch(arena, node, batch).data() - arena;
  };

  const std::vector<std::size_t> small{600, 500, 640};
  const SharedArena within{lives, small, 1920, 1};
  CHECK(within.bytes() == 1920);
  CHECK(begin(within, 0, 1) == 0);
  CHECK(within.scratch(arena, 0, 1).size() == 640);
  CHECK(begin(within, 1, 1) == 1920 - 512);
  CHECK(begin(within, 2, 1) == 1280);

  const std::vector<std::size_t> large{0, 1000, 0};
  const SharedArena longer{lives, large, 1920, 1};
  CHECK(longer.bytes() == 1280 + 1024);
  CHECK(begin(longer, 1, 1) == 1280);

  // The same bytes for two samples: one sample ends at 960.
  const SharedArena two{lives, small, 1920, 2};
  CHECK(two.bytes() == 1920);
  CHECK(begin(two, 0, 2) == 0);
  CHECK(begin(two, 0, 1) == 1280);
}

TEST_CASE("scratch that is needed where little lives costs nothing") {
  using Net = Program<UNet<Width<16>, Depth<3>>, Image<1, 128, 128>>;
  Binding<InferenceProgram<Net>, cpu::Tbb<float>> binding;
  const std::size_t arena = 4 * static_cast<std::size_t>(Net::inference.plan.arena);
  const std::size_t scratch = binding.scratch_bytes(1, 2);
  CHECK(scratch > 100'000);
  const std::size_t shared = binding.share_arena(1, 2);
  CHECK(shared >= std::max(arena, scratch));
  CHECK(shared < arena + scratch);
}
