// SPDX-License-Identifier: MIT
// A run that was interrupted goes on to the same bits, whatever happens while it is saved.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "../data/temporary_folder.hpp"
#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/train/checkpoint.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::random_batch;
using ulna::testing::RandomBatch;
using ulna::testing::read_text;
using ulna::testing::TemporaryFolder;
using ulna::testing::write_text;

namespace {

using P = Program<UNet<Width<4>, Depth<1>, Dropout<>>, Image<1, 8, 12>>;
using Eigen32 = cpu::Eigen<float>;

template <class Optimizer, class B, class Q = P>
using Run = Trainer<Q, DiceCrossEntropy, B, Optimizer>;

TrainerOptions options() { return {.batch = 2, .schedule = schedule::cosine(10), .seed = Seed{3}}; }

template <class Optimizer, class B>
void check_resume(B backend = {}) {
  using T = typename B::Element;
  const TemporaryFolder folder;
  const auto path = folder / "run.safetensors";
  const auto steps = [](auto& trainer, int from, int to) {
    for (int i = from; i < to; ++i) {
      const RandomBatch batch = random_batch<P>(2, Seed{static_cast<std::uint64_t>(i)});
      trainer.step(batch.image_view, batch.label_view);
    }
  };
  Model<P, T> whole{Seed{1}};
  Run<Optimizer, B> uninterrupted{whole, {}, options(), backend};
  steps(uninterrupted, 0, 4);
  save_checkpoint(uninterrupted, path, {{"note", "half of it"}});
  steps(uninterrupted, 4, 8);

  Model<P, T> other{Seed{99}};
  Run<Optimizer, B> resumed{other, {}, options(), backend};
  steps(resumed, 20, 23);  // whatever it did before
  const safetensors::Metadata metadata = load_checkpoint(resumed, path);
  CHECK(metadata.at("note") == "half of it");
  CHECK(resumed.steps() == 4);
  steps(resumed, 4, 8);
  CHECK(whole.hash() == other.hash());
  for (int i = 0; i < Optimizer::slots; ++i)
    CHECK(std::ranges::equal(uninterrupted.optimizer_slot(i), resumed.optimizer_slot(i)));
}

}  // namespace

TEST_CASE("resuming gives the bits of an uninterrupted run") {
  SUBCASE("SGD, Eigen<float>") { check_resume<SGD, Eigen32>(); }
  SUBCASE("AdamW, Eigen<double>") { check_resume<AdamW, cpu::Eigen<double>>(); }
  SUBCASE("SGD, Tbb<float>") { check_resume<SGD>(cpu::Tbb<float>{2}); }
  SUBCASE("Adam, Tbb<float>") { check_resume<Adam>(cpu::Tbb<float>{2}); }
  SUBCASE("AdamW, Tbb<float>") { check_resume<AdamW>(cpu::Tbb<float>{1}); }
}

TEST_CASE("what is no checkpoint of this run is refused and changes nothing") {
  const TemporaryFolder folder;
  const auto path = folder / "run.safetensors";
  const RandomBatch batch = random_batch<P>(2);
  Model<P> model{Seed{1}};
  Run<Adam, Eigen32> trainer{model, {}, options()};
  trainer.step(batch.image_view, batch.label_view);
  save_checkpoint(trainer, path);
  trainer.step(batch.image_view, batch.label_view);
  const std::uint64_t before = model.hash();
  const std::vector<float> slot(trainer.optimizer_slot(0).begin(), trainer.optimizer_slot(0).end());
  const auto refusal = [&](const std::filesystem::path& file) {
    const std::string said = testing::message_of<WeightsError>([&] { load_checkpoint(trainer, file); });
    CHECK(model.hash() == before);
    CHECK(trainer.steps() == 2);
    CHECK(std::ranges::equal(trainer.optimizer_slot(0), slot));
    return said;
  };

  SUBCASE("another optimizer") {
    Model<P> m;
    Run<SGD, Eigen32> sgd{m, {}, options()};
    save_checkpoint(sgd, path);
    CHECK(refusal(path) == path.string() + ": written with optimizer sgd, this run uses adam");
  }
  SUBCASE("another width") {
    using Q = Program<UNet<Width<6>, Depth<1>, Dropout<>>, Image<1, 8, 12>>;
    Model<Q> m;
    Run<Adam, Eigen32, Q> other{m, {}, options()};
    save_checkpoint(other, path);
    const std::string said = refusal(path);
    CHECK(contains(said, "mis-shaped  encoder.0.conv1.weight: found [6, 1, 3, 3], expected [4, 1, 3, 3]"));
    CHECK(contains(said, "mis-shaped  optimizer.1.head.bias") == false);
    CHECK(contains(said, "mis-shaped  optimizer.1.head.weight: found [2, 6, 1, 1], expected [2, 4, 1, 1]"));
  }
  SUBCASE("the same tensors, another activation") {
    using Q = Program<UNet<Width<4>, Depth<1>, Dropout<>, activation::LeakyReLU<>>, Image<1, 8, 12>>;
    Model<Q> m;
    Run<Adam, Eigen32, Q> other{m, {}, options()};
    save_checkpoint(other, path);
    CHECK(contains(refusal(path), "another architecture"));
  }
  SUBCASE("weights without an optimizer") {
    save_weights(model, path);
    CHECK(contains(refusal(path), "not a checkpoint: its metadata has no \"optimizer\""));
  }
  SUBCASE("a step that is no number") {
    std::string bytes = read_text(path);
    const std::size_t at = bytes.find("\"step\":\"1\"");
    REQUIRE(at != std::string::npos);
    bytes[at + 8] = 'x';
    write_text(path, bytes);
    CHECK(contains(refusal(path), "the step is \"x\", expected a number"));
  }
  SUBCASE("truncated anywhere") {
    const std::string bytes = read_text(path);
    for (std::size_t n : {std::size_t{0}, std::size_t{7}, std::size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
      write_text(path, bytes.substr(0, n));
      CHECK(contains(refusal(path), path.string()));
    }
  }
  SUBCASE("missing") {
    CHECK(contains(testing::message_of<FileError>([&] { load_checkpoint(trainer, folder / "none"); }), "none"));
    CHECK(model.hash() == before);
  }
}

TEST_CASE("a checkpoint of images of another extent resumes") {
  using Q = Program<UNet<Width<4>, Depth<1>, Dropout<>>, Image<1, 16, 4>>;
  const TemporaryFolder folder;
  Model<P> model{Seed{1}};
  Run<SGD, Eigen32> trainer{model, {}, options()};
  save_checkpoint(trainer, folder / "run.safetensors");
  Model<Q> other{Seed{2}};
  Run<SGD, Eigen32, Q> resumed{other, {}, options()};
  load_checkpoint(resumed, folder / "run.safetensors");
  CHECK(other.hash() == model.hash());
}

namespace {

/// A run whose every number is its step: a mixture of two checkpoints shows.
void become(Run<AdamW, Eigen32>& trainer, int step) {
  const auto value = static_cast<float>(step);
  std::ranges::fill(trainer.model().mutable_parameters(), value);
  std::ranges::fill(trainer.model().mutable_state(), value);
  for (int i = 0; i < 2; ++i) std::ranges::fill(trainer.optimizer_slot(i), value);
  trainer.resume_at(step);
}

bool is_whole(Run<AdamW, Eigen32>& trainer) {
  const auto value = static_cast<float>(trainer.steps());
  const auto all = [value](auto values) { return std::ranges::all_of(values, [=](float v) { return v == value; }); };
  return all(trainer.model().parameters()) && all(trainer.model().state()) && all(trainer.optimizer_slot(0)) &&
         all(trainer.optimizer_slot(1));
}

}  // namespace

TEST_CASE("a process killed while it saves leaves a whole checkpoint") {
  const TemporaryFolder folder;
  const auto path = folder / "run.safetensors";
  Model<P> model;
  Run<AdamW, Eigen32> trainer{model, {}, options()};
  become(trainer, 1);
  save_checkpoint(trainer, path);
  std::int64_t last = 1;
  for (int round = 0; round < 12; ++round) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int step = static_cast<int>(last) + 1;; ++step) {
        become(trainer, step);
        save_checkpoint(trainer, path);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(7 + 3 * round));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));  // it did not end by itself
    load_checkpoint(trainer, path);
    CHECK(is_whole(trainer));
    CHECK(trainer.steps() >= last);
    last = trainer.steps();
  }
  CHECK(last > 1);
}

TEST_CASE("a full disk leaves the previous checkpoint and nothing else") {
  const TemporaryFolder folder;
  const auto path = folder / "run.safetensors";
  Model<P> model;
  Run<AdamW, Eigen32> trainer{model, {}, options()};
  become(trainer, 7);
  save_checkpoint(trainer, path);
  const std::string before = read_text(path);
  for (const rlim_t limit : {rlim_t{0}, rlim_t{100}, rlim_t{before.size() - 1}}) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      std::signal(SIGXFSZ, SIG_IGN);  // write() then fails as on a full disk
      const rlimit bytes{limit, limit};
      if (setrlimit(RLIMIT_FSIZE, &bytes) != 0) _exit(3);
      become(trainer, 8);
      const std::string said = testing::message_of<FileError>([&] { save_checkpoint(trainer, path); });
      _exit(contains(said, path.string()) && contains(said, "unchanged") ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(read_text(path) == before);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }
  load_checkpoint(trainer, path);
  CHECK(trainer.steps() == 7);
  CHECK(is_whole(trainer));
}

TEST_CASE("a folder that is not there") {
  const TemporaryFolder folder;
  Model<P> model;
  Run<AdamW, Eigen32> trainer{model, {}, options()};
  const auto path = folder.path() / "none" / "run.safetensors";
  const std::string said = testing::message_of<FileError>([&] { save_checkpoint(trainer, path); });
  CHECK(contains(said, "run.safetensors"));
}
