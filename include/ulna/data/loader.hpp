// SPDX-License-Identifier: MIT
// Batches of augmented crops, prepared in the background while the training runs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ulna/data/augment.hpp"

namespace ulna {

/// One training batch.
struct Batch {
  ImageBatch images;    ///< (batch, height, width, channels)
  LabelBatch labels;    ///< (batch, height - 2 margin, width - 2 margin)
  WeightBatch weights;  ///< as labels, or empty (size 0) when the samples have none
  std::uint64_t step = 0;
};

/// How a Loader works; none of it but `on_batch` changes the content of batches.
struct LoaderOptions {
  int label_margin = 0;  ///< see Crop::label_margin
  int threads = 1;       ///< background threads, each preparing whole batches
  int prefetch = 3;      ///< batches held ready; at least threads + 1 are allocated
  /// Called on every prepared batch, by a background thread, before it is delivered: the place to add weight maps or to
  /// change values. For reproducible training it must depend on the batch alone. It must be callable from several
  /// threads at once if `threads` is above 1.
  std::function<void(Batch&)> on_batch = {};
};

/// The order in which an epoch visits `count` samples: a Fisher-Yates shuffle that depends on (seed, epoch) alone.
inline std::vector<int> epoch_order(Seed seed, std::uint64_t epoch, int count) {
  std::vector<int> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  Random random(seed, epoch, 0x0EDE5u);
  for (int i = count - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(random.below(i + 1))]);
  }
  return order;
}

/// Delivers batch after batch of augmented crops. The batch of a step depends on (samples, augmentation, sizes, seed,
/// step) alone, not on the number of threads or on timing. Samples are drawn epoch by epoch, each once an epoch in
/// shuffled order, so all are seen equally often; a batch may reach over the end of an epoch.
///
/// Memory for all batches is allocated once. next() and seek() belong to one thread, the trainer's.
class Loader {
 public:
  /// Starts preparing step 0. The samples are kept: move them in to avoid a copy.
  /// Throws DataError when there are no samples, when one is invalid (a NaN, a mask of another size), and when they
  /// differ in channels or in having weights; ArgumentError for sizes and options out of range.
  Loader(std::vector<Sample> samples, const Augmentation& augmentation, int batch, int height, int width, Seed seed,
         LoaderOptions options = {})
      : samples_(std::move(samples)),
        augmentation_(augmentation),
        crop_{height, width, options.label_margin},
        batch_(batch),
        seed_(seed),
        options_(std::move(options)) {
    require_valid(augmentation_);
    require_valid(crop_);
    if (batch_ < 1 || options_.threads < 1 || options_.prefetch < 1) {
      throw ArgumentError("a loader with batch " + std::to_string(batch_) + ", " + std::to_string(options_.threads) +
                          " threads and " + std::to_string(options_.prefetch) +
                          " prefetched batches; all must be positive");
    }
    require_like_samples();
    allocate();
    start();
  }

  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader() { stop(); }

  /// The batch of the next step, waiting for it if it is not ready. The reference holds until the next call of next()
  /// or seek(). An exception met while preparing the batch (by on_batch, say) is thrown here, and again by every later
  /// call until seek().
  const Batch& next() {
    std::unique_lock lock(mutex_);
    if (delivered_) {
      slot(consumed_++).state = State::free;
      delivered_ = false;
      changed_.notify_all();
    }
    Slot& wanted = slot(consumed_);
    changed_.wait(lock, [&] { return wanted.state == State::ready; });
    if (wanted.error) std::rethrow_exception(wanted.error);
    delivered_ = true;
    return wanted.batch;
  }

  /// Makes `step` the step of the batch that next() returns next: a resumed run goes on with the batches it would have
  /// had.
  void seek(std::uint64_t step) {
    stop();
    for (Slot& each : slots_) {
      each.state = State::free;
      each.error = nullptr;
    }
    delivered_ = false;
    claimed_ = consumed_ = step;
    start();
  }

  /// Steps in which every sample is seen once, rounded up.
  std::uint64_t steps_per_epoch() const {
    const auto batch = static_cast<std::uint64_t>(batch_);
    return (samples_.size() + batch - 1) / batch;
  }

  const std::vector<Sample>& samples() const { return samples_; }

 private:
  enum class State { free, filling, ready };

  struct Slot {
    Batch batch;
    State state = State::free;
    std::exception_ptr error;
  };

  Slot& slot(std::uint64_t step) { return slots_[static_cast<std::size_t>(step % slots_.size())]; }

  void require_like_samples() const {
    if (samples_.empty()) throw DataError("a loader was given no samples; at least one is needed");
    const Sample& first = samples_.front();
    for (const Sample& sample : samples_) {
      require_valid(sample);
      if (sample.image.shape(2) != first.image.shape(2)) {
        throw DataError("sample '" + sample.name + "' has " + std::to_string(sample.image.shape(2)) + " channels, '" +
                        first.name + "' has " + std::to_string(first.image.shape(2)) +
                        "; all must have the same (images can be read as grey)");
      }
      if (sample.has_weights() != first.has_weights()) {
        const bool has = sample.has_weights();
        throw DataError("sample '" + (has ? sample : first).name + "' has a weight map, '" +
                        (has ? first : sample).name + "' has none; give weights to all or to none");
      }
    }
  }

  void allocate() {
    const Sample& first = samples_.front();
    slots_.resize(static_cast<std::size_t>(std::max(options_.prefetch, options_.threads + 1)));
    for (Slot& each : slots_) {
      each.batch.images = detail::make_array<ImageBatch>(batch_, crop_.height, crop_.width, extent(first.image, 2));
      each.batch.labels = detail::make_array<LabelBatch>(batch_, crop_.label_height(), crop_.label_width());
      if (first.has_weights()) {
        each.batch.weights = detail::make_array<WeightBatch>(batch_, crop_.label_height(), crop_.label_width());
      }
    }
  }

  void start() {
    for (int i = 0; i < options_.threads; ++i) {
      workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }

  void stop() {
    for (auto& worker : workers_) worker.request_stop();
    workers_.clear();  // joins
  }

  /// A background thread: claims steps in order, each into its slot of the ring.
  void work(const std::stop_token& stop) {
    std::uint64_t epoch = UINT64_MAX;
    std::vector<int> order;
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return slot(claimed_).state == State::free; });
      if (stop.stop_requested()) return;
      const std::uint64_t step = claimed_++;
      Slot& mine = slot(step);
      mine.state = State::filling;
      lock.unlock();
      try {
        fill(mine.batch, step, epoch, order);
        if (options_.on_batch) options_.on_batch(mine.batch);
      } catch (...) {
        mine.error = std::current_exception();
      }
      lock.lock();
      mine.state = State::ready;
      changed_.notify_all();
    }
  }

  /// Prepares the batch of a step. (epoch, order) is the order last used, kept as it seldom changes.
  void fill(Batch& batch, std::uint64_t step, std::uint64_t& epoch, std::vector<int>& order) const {
    batch.step = step;
    const auto patch_values = batch.images.size() / static_cast<std::size_t>(batch_);
    const auto patch_labels = batch.labels.size() / static_cast<std::size_t>(batch_);
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch_); ++i) {
      const std::uint64_t draw = step * static_cast<std::uint64_t>(batch_) + i;
      if (epoch != draw / samples_.size()) {
        epoch = draw / samples_.size();
        order = epoch_order(seed_, epoch, static_cast<int>(samples_.size()));
      }
      const Sample& sample =
          samples_[static_cast<std::size_t>(order[static_cast<std::size_t>(draw % samples_.size())])];
      Random random(seed_, draw, 0xA06u);
      const PatchView patch{batch.images.data() + i * patch_values, batch.labels.data() + i * patch_labels,
                            sample.has_weights() ? batch.weights.data() + i * patch_labels : nullptr};
      augment_into(sample, augmentation_, crop_, random, patch);
    }
  }

  std::vector<Sample> samples_;
  Augmentation augmentation_;
  Crop crop_;
  int batch_;
  Seed seed_;
  LoaderOptions options_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Slot> slots_;     // slot s % size holds step s
  std::uint64_t claimed_ = 0;   // the next step a worker takes
  std::uint64_t consumed_ = 0;  // the step next() waits for, or has delivered
  bool delivered_ = false;
  std::vector<std::jthread> workers_;  // last: joined before what they use goes
};

}  // namespace ulna
