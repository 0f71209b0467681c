// SPDX-License-Identifier: MIT
// A thread block with Hopper's copy engine on the host: tensor maps, boxes with their swizzle and their zeros outside,
// and barriers that count arrivals and bytes as the PTX ISA states them. The thread that asks for boxes is a thread of
// its own, so that waiting is waiting.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "block_emulator.hpp"
#include "ulna/backend/cuda/convolution_box.hpp"

namespace ulna::cuda {

/// mbarrier: a phase ends when all arrivals and all expected bytes have come.
class EmulatedBarrier {
 public:
  void start(int arrivals) { arrivals_ = pending_ = arrivals; }
  void expect(int bytes) { bytes_ += bytes; }
  void arrive(int count = 1) {
    pending_ -= count;
    settle();
  }
  void complete(int bytes) {
    bytes_ -= bytes;
    settle();
  }
  /// mbarrier.test_wait.parity: whether the phase of this parity is over.
  bool passed(unsigned parity) const { return (phases_ & 1u) != parity; }
  bool sound() const { return pending_ >= 0 && bytes_ >= 0; }

 private:
  void settle() {
    if (pending_ > 0 || bytes_ > 0) return;
    ++phases_;
    pending_ = arrivals_;
  }

  int arrivals_ = 0, pending_ = 0, bytes_ = 0;
  unsigned phases_ = 0;
};

template <class Tile>
class EmulatedBoxBlock : public EmulatedBlock<Tile::threads> {
  using Base = EmulatedBlock<Tile::threads>;

 public:
  explicit EmulatedBoxBlock(Timing timing) : Base(Tile::shared_bytes, timing) {}

  template <int Stages>
  void start() {
    stages_.resize(Stages);
    for (Stage& s : stages_) {
      s.full.start(1);
      s.empty.start(Tile::threads / warp_size);
    }
    this->barrier();
  }

  template <class Produce, class Consume>
  void roles(const Produce& produce, const Consume& consume) {
    std::thread producer(produce);
    consume();
    producer.join();
    if (std::any_of(stages_.begin(), stages_.end(), [](const Stage& s) { return !s.copies.empty(); }))
      this->complain("a box is still on its way at the end", 0);
  }

  void await_empty(int stage, unsigned parity) {
    std::unique_lock lock(mutex_);
    Stage& s = at(stage);
    wait(lock, "nobody empties a stage", [&] { return s.empty.passed(parity); });
    s.free = true;
  }
  void expect(int stage, int bytes) {
    const std::lock_guard lock(mutex_);
    Stage& s = at(stage);
    if (!s.free) this->complain("fills a stage that nobody gave back", stage);
    s.free = false;
    s.full.expect(bytes);
    s.full.arrive();
    changed_.notify_all();
  }
  void copy_box(int stage, int offset, const TensorMap& map, const std::array<int, 4>& place) {
    const std::lock_guard lock(mutex_);
    TensorBoxes boxes;
    std::memcpy(static_cast<void*>(&boxes), map.opaque, sizeof(boxes));
    if (offset % 1024 != 0) this->complain("a box that begins amidst the swizzle", offset / 4);
    at(stage).copies.push_back({boxes, place, offset});
    if (!this->timing_.late_copies) arrive(at(stage));
    changed_.notify_all();
  }
  void await_full(int stage, unsigned parity) {
    std::unique_lock lock(mutex_);
    Stage& s = at(stage);
    wait(lock, "nobody fills a stage", [&] {
      arrive(s);
      return s.full.passed(parity);
    });
  }
  void release(int stage) {
    for (const auto& group : this->products_)
      for (const auto& product : group)
        if (product.offset / Tile::stage_bytes == stage) this->complain("gives back what a product reads", stage);
    const std::lock_guard lock(mutex_);
    at(stage).empty.arrive(Tile::threads / warp_size);
    changed_.notify_all();
  }

 private:
  struct BoxCopy {
    TensorBoxes boxes;
    std::array<int, 4> place;
    int offset;
  };
  struct Stage {
    EmulatedBarrier full, empty;
    bool free = false;
    std::vector<BoxCopy> copies;
  };

  Stage& at(int stage) { return stages_.at(static_cast<std::size_t>(stage)); }

  template <class Ready>
  void wait(std::unique_lock<std::mutex>& lock, const char* what, const Ready& ready) {
    if (gave_up_ || changed_.wait_for(lock, std::chrono::seconds(20), [&] { return gave_up_ || ready(); })) return;
    this->complain(what, 0);
    gave_up_ = true;
    changed_.notify_all();
  }

  /// What has been asked for arrives.
  void arrive(Stage& s) {
    for (const BoxCopy& c : s.copies) {
      copy(c);
      s.full.complete(c.boxes.bytes());
    }
    s.copies.clear();
    if (!s.full.sound()) this->complain("more bytes arrive than were expected", 0);
  }

  void copy(const BoxCopy& c) {
    const auto& [a, b, d, e] = c.boxes.box;
    int to = c.offset;
    for (std::uint32_t i3 = 0; i3 < e; ++i3)
      for (std::uint32_t i2 = 0; i2 < d; ++i2)
        for (std::uint32_t i1 = 0; i1 < b; ++i1)
          for (std::uint32_t i0 = 0; i0 < a; ++i0, to += c.boxes.element) {
            const std::array<std::uint32_t, 4> in_box{i0, i1, i2, i3};
            const auto bytes = static_cast<std::size_t>(c.boxes.element);
            std::uint32_t value = 0;
            if (const std::byte* from = source(c, in_box)) std::memcpy(&value, from, bytes);
            if (bytes == 4) value = tf32_bits(value);
            const int swizzled = to ^ (to >> 7 & 7) << 4;
            std::memcpy(this->memory_.data() + swizzled, &value, bytes);
            auto& word = this->word(swizzled / 4);
            word.written = this->epoch_ - 1;
            word.writer = -1;
            word.published = true;
          }
  }
  /// Null outside.
  static const std::byte* source(const BoxCopy& c, const std::array<std::uint32_t, 4>& in_box) {
    const auto* from = static_cast<const std::byte*>(c.boxes.data);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::int64_t at = std::int64_t{c.place[i]} + in_box[i];
      if (at < 0 || at >= static_cast<std::int64_t>(c.boxes.size[i])) return nullptr;
      from += at * (i == 0 ? c.boxes.element : static_cast<std::int64_t>(c.boxes.stride[i - 1]));
    }
    return from;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool gave_up_ = false;
  std::vector<Stage> stages_;
};

/// The description itself, in place of what the driver makes of it.
inline TensorMap tensor_map(const EmulatedExecution&, const TensorBoxes& boxes) {
  CHECK(boxes.valid(reinterpret_cast<std::uintptr_t>(boxes.data)));
  static_assert(sizeof(TensorBoxes) <= sizeof(TensorMap) && std::is_trivially_copyable_v<TensorBoxes>);
  TensorMap map{};
  std::memcpy(map.opaque, &boxes, sizeof(boxes));
  return map;
}

template <class Program>
void run_boxes(const EmulatedExecution& on, const char* name, const ProductPlan& plan, const Program& program) {
  each_tile_of(name, plan, [&](const BlockIndex& index) {
    EmulatedBoxBlock<typename Program::Tile> block(on.timing);
    program(block, index);
    return block.trouble();
  });
}

}  // namespace ulna::cuda
