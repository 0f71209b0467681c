// SPDX-License-Identifier: MIT
// A thread block on the host: shared memory that knows who touched what since which barrier, asynchronous copies, and
// the warps' matrix instructions as the PTX ISA states them.
//
// It finds races that a device would show only now and then: between two barriers no thread may touch what another
// thread writes, and nobody may touch the target of a copy before its thread has waited for it. Copies can take effect
// at once or as late as allowed, and threads can run forwards or backwards; a correct program gives the same bits.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "ulna/backend/cuda/convolution_plan.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"
#include "ulna/backend/cuda/execution.hpp"

namespace ulna::cuda {

/// How timing may vary.
struct Timing {
  bool late_copies = true;
  bool backwards = false;
};

template <int Threads>
class EmulatedBlock {
 public:
  template <class T>
  class PerThread {
   public:
    T& operator[](int thread) { return value_[static_cast<std::size_t>(thread)]; }

   private:
    std::vector<T> value_ = std::vector<T>(static_cast<std::size_t>(Threads));
  };

  EmulatedBlock(int shared_bytes, Timing timing)
      : timing_(timing), memory_(static_cast<std::size_t>(shared_bytes)), words_(memory_.size() / 4), groups_(1) {}

  template <class F>
  void each(const F& f) {
    for (int t = 0; t < Threads; ++t) f(timing_.backwards ? Threads - 1 - t : t);
  }

  void barrier() { ++epoch_; }

  /// cp.async of 16 bytes, zeros if not valid.
  void copy(int thread, int offset, const void* from, bool valid) {
    Copy c{thread, offset, {}};
    if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0 || offset % 16 != 0) complain("misaligned copy", offset / 4);
    if (valid) std::memcpy(c.bytes.data(), from, 16);
    for (int w = offset / 4; w < offset / 4 + 4; ++w) {
      note_write(thread, w);
      word(w).in_flight = true;
    }
    if (!timing_.late_copies) std::memcpy(memory_.data() + offset, c.bytes.data(), 16);
    groups_.back().push_back(c);
  }
  void commit() { groups_.emplace_back(); }
  template <int Pending>
  void wait() {
    while (groups_.size() > Pending + 1) {  // the last one is still open
      for (const Copy& c : groups_.front()) {
        std::memcpy(memory_.data() + c.offset, c.bytes.data(), 16);
        for (int w = c.offset / 4; w < c.offset / 4 + 4; ++w) {
          word(w).in_flight = false;
          note_write(c.thread, w);
          word(w).published = false;
          unpublished_.push_back(w);
        }
      }
      groups_.pop_front();
    }
  }

  template <class T>
  void store(int thread, int offset, const T& value) {
    static_assert(sizeof(T) % 4 == 0);
    if (offset % static_cast<int>(sizeof(T)) != 0) complain("misaligned access", offset / 4);
    for (int w = offset / 4; w < (offset + static_cast<int>(sizeof(T))) / 4; ++w) {
      note_write(thread, w);
      word(w).published = false;
      unpublished_.push_back(w);
    }
    std::memcpy(memory_.data() + offset, &value, sizeof(T));
  }
  template <class T>
  T load(int thread, int offset) {
    static_assert(sizeof(T) % 4 == 0);
    if (offset % static_cast<int>(sizeof(T)) != 0) complain("misaligned access", offset / 4);
    for (int w = offset / 4; w < (offset + static_cast<int>(sizeof(T))) / 4; ++w) note_read(thread, w);
    T value;
    std::memcpy(&value, memory_.data() + offset, sizeof(T));
    return value;
  }

  /// ldmatrix.sync.aligned.m8n8.x4[.trans].b16: lane 8 i + r names row r of matrix i; word i of a lane holds the two
  /// neighbouring elements (lane / 4, 2 (lane % 4)) of matrix i, or of its transpose.
  template <bool Transposed, class OffsetOf, class WordOf>
  void load_matrices(const OffsetOf& offset_of, const WordOf& word_of) {
    for (int warp = 0; warp < Threads; warp += warp_size)
      for (int i = 0; i < 4; ++i) {
        std::uint16_t m[8][8];
        for (int r = 0; r < 8; ++r) {
          const int t = warp + 8 * i + r;
          const auto row = load<std::array<std::uint16_t, 8>>(t, offset_of(t));
          std::copy(row.begin(), row.end(), m[r]);
        }
        for (int lane = 0; lane < warp_size; ++lane) {
          const int a = lane / 4;
          const int b = lane % 4 * 2;
          const std::uint32_t low = Transposed ? m[b][a] : m[a][b];
          const std::uint32_t high = Transposed ? m[b + 1][a] : m[a][b + 1];
          word_of(warp + lane, i) = low | high << 16;
        }
      }
  }

  /// mma.sync.aligned.row.col: m16n8k16 of bf16 or m16n8k8 of tf32, added to four floats of each lane.
  template <bool Bf16, class SumsOf, class AOf, class BOf>
  void multiply_add(const SumsOf& sums_of, const AOf& a_of, const BOf& b_of) {
    constexpr int depth = Bf16 ? 16 : 8;
    for (int warp = 0; warp < Threads; warp += warp_size) {
      float a[16][depth];
      float b[depth][8];
      for (int lane = 0; lane < warp_size; ++lane) {
        const int group = lane / 4;
        const int member = lane % 4;
        const std::uint32_t* aw = a_of(warp + lane);
        const std::uint32_t* bw = b_of(warp + lane);
        if constexpr (Bf16) {
          for (int i = 0; i < 8; ++i)
            a[i < 2 || (4 <= i && i < 6) ? group : group + 8][member * 2 + i % 2 + (i < 4 ? 0 : 8)] = half(aw, i);
          for (int i = 0; i < 4; ++i) b[member * 2 + i % 2 + (i < 2 ? 0 : 8)][group] = half(bw, i);
        } else {
          for (int i = 0; i < 4; ++i) a[group + i % 2 * 8][member + i / 2 * 4] = tf32(aw[i]);
          for (int i = 0; i < 2; ++i) b[member + i * 4][group] = tf32(bw[i]);
        }
      }
      for (int lane = 0; lane < warp_size; ++lane)
        for (int i = 0; i < 4; ++i) {
          const int row = lane / 4 + i / 2 * 8;
          const int column = lane % 4 * 2 + i % 2;
          float sum = sums_of(warp + lane)[i];
          for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
          sums_of(warp + lane)[i] = sum;
        }
    }
  }

  /// __shfl_xor_sync by 1 and by 2, combined.
  template <class ValueOf, class Combine>
  void combine_quads(const ValueOf& value_of, const Combine& combine) {
    for (int mask = 1; mask <= 2; mask *= 2) {
      std::array<float, Threads> other;
      for (int t = 0; t < Threads; ++t) other[static_cast<std::size_t>(t)] = value_of(t ^ mask);
      for (int t = 0; t < Threads; ++t) value_of(t) = combine(value_of(t), other[static_cast<std::size_t>(t)]);
    }
  }

  // --- products of warpgroups: wgmma.mma_async

  /// fence.proxy.async: what this thread and its copies wrote may be read by asynchronous products.
  void publish() {
    for (const int w : unpublished_) word(w).published = true;
    unpublished_.clear();
  }
  std::uint64_t descriptor(int offset, int leading, int stride) {
    return matrix_descriptor(static_cast<std::uint32_t>(offset), leading, stride);
  }
  void begin_products() {}
  void commit_products() { products_.emplace_back(); }
  /// Adds the product of a matrix of 64 rows and one of Tile::columns columns, 32 bytes of terms, to Tile::columns / 2
  /// floats of each thread of a warpgroup.
  template <class Tile, class SumsOf, class AOf>
  void multiply_warpgroups(const SumsOf& sums_of, const AOf& a_of, std::uint64_t b) {
    for (int first = 0; first < Threads; first += warpgroup_size) {
      std::vector<float*> sums;
      for (int t = first; t < first + warpgroup_size; ++t) sums.push_back(&sums_of(t)[0][0]);
      const std::uint64_t a = a_of(first);
      const auto product = [this, sums, a, b, first] {
        if (a >> 62 != 1) complain("a descriptor without 128-byte swizzle", 0);
        multiply_warpgroup<Tile>(first, sums, b, [&](int row, int k) {
          return element<Tile::arithmetic == Arithmetic::bf16, Tile::a_major == Major::mn>(first, a, row, k);
        });
      };
      if (timing_.late_copies)
        products_.back().push_back({product, static_cast<int>(a & 0x3FFF) * 16});
      else
        product();
    }
  }
  /// The same in tf32 with the first operand in registers: words of lane / 4 and lane / 4 + 8 of a warp's 16 rows,
  /// terms lane % 4 and lane % 4 + 4.
  template <class Tile, class SumsOf, class AOf>
  void multiply_warpgroups_by_words(const SumsOf& sums_of, const AOf& a_of, std::uint64_t b) {
    for (int first = 0; first < Threads; first += warpgroup_size) {
      std::vector<float*> sums;
      std::vector<const std::uint32_t*> words;
      for (int t = first; t < first + warpgroup_size; ++t) {
        sums.push_back(&sums_of(t)[0][0]);
        words.push_back(a_of(t));
      }
      const auto product = [this, sums, words, b, first] {
        multiply_warpgroup<Tile>(first, sums, b, [&](int row, int k) {
          const int thread = row / 16 * 32 + row % 8 * 4 + k % 4;
          return tf32(words[static_cast<std::size_t>(thread)][k / 4 * 2 + row % 16 / 8]);
        });
      };
      if (timing_.late_copies)
        products_.back().push_back({product, static_cast<int>(b & 0x3FFF) * 16});
      else
        product();
    }
  }
  template <int Pending>
  void wait_products() {
    while (products_.size() > Pending + 1) {
      for (const Product& product : products_.front()) product.run();
      products_.pop_front();
    }
  }
  template <int Columns>
  void settle(float (*)[4]) {}

  const std::string& trouble() const { return trouble_; }

 protected:
  struct Copy {
    int thread;
    int offset;
    std::array<std::byte, 16> bytes;
  };
  /// Under way.
  struct Product {
    std::function<void()> run;
    int offset;  ///< of its first operand
  };
  struct Word {
    int written = -1, writer = -1;  ///< in which epoch, by whom
    int read = -1, reader = -1;     ///< reader -2: several threads
    bool in_flight = false;
    bool published = false;
  };

  /// Element (mn, k) of a matrix with 128-byte swizzle: bits 4 to 6 of the address are exclusive-ored with bits 7 to 9.
  template <bool Bf16, bool Across>
  float element(int thread, std::uint64_t descriptor, int mn, int k) {
    static_assert(Bf16 || !Across, "floats lie along the summed axis alone");
    constexpr int bytes = Bf16 ? 2 : 4;
    const auto field = [&](int shift) { return static_cast<int>(descriptor >> shift & 0x3FFF) * 16; };
    const int leading = field(16);
    const int stride = field(32);
    const int at = field(0) + (Across ? mn / 64 * leading + k / 8 * stride + k % 8 * 128 + mn % 64 * 2
                                      : mn / 8 * stride + mn % 8 * 128 + k * bytes);
    const int swizzled = at ^ (at >> 7 & 7) << 4;
    if (!word(swizzled / 4).published) complain("a product reads what was not published", swizzled / 4);
    const auto bits = load<std::uint32_t>(thread, swizzled / 4 * 4);
    return Bf16 ? static_cast<float>(bf16::from_bits(static_cast<std::uint16_t>(bits >> (swizzled % 4 * 8))))
                : tf32(bits);
  }

  template <class Tile, class AOf>
  void multiply_warpgroup(int first, const std::vector<float*>& sums, std::uint64_t b, const AOf& a_of) {
    constexpr bool is_bf16 = Tile::arithmetic == Arithmetic::bf16;
    constexpr int terms = is_bf16 ? 16 : 8;
    if (b >> 62 != 1) complain("a descriptor without 128-byte swizzle", 0);
    std::vector<float> bs(terms * Tile::columns);
    for (int k = 0; k < terms; ++k)
      for (int n = 0; n < Tile::columns; ++n)
        bs[static_cast<std::size_t>(k * Tile::columns + n)] =
            element<is_bf16, Tile::b_major == Major::mn>(first, b, n, k);
    for (int row = 0; row < warpgroup_rows; ++row) {
      float as[terms];
      for (int k = 0; k < terms; ++k) as[k] = a_of(row, k);
      for (int n = 0; n < Tile::columns; ++n) {
        // warp row / 16, lane (row % 8, n % 8 / 2), number (n / 8, row / 8, n % 2)
        const int thread = row / 16 * 32 + row % 8 * 4 + n % 8 / 2;
        float& sum = sums[static_cast<std::size_t>(thread)][n / 8 * 4 + row % 16 / 8 * 2 + n % 2];
        for (int k = 0; k < terms; ++k) sum += as[k] * bs[static_cast<std::size_t>(k * Tile::columns + n)];
      }
    }
  }

  static float half(const std::uint32_t* words, int i) {
    return bf16::from_bits(static_cast<std::uint16_t>(words[i / 2] >> (i % 2 * 16)));
  }
  float tf32(std::uint32_t bits) {
    if ((bits & 0x1FFFu) != 0) complain("an operand was not rounded to tf32", 0);
    return std::bit_cast<float>(bits);
  }

  Word& word(int w) { return words_.at(static_cast<std::size_t>(w)); }
  void complain(const char* what, int w) {
    if (trouble_.empty()) trouble_ = std::string(what) + ", byte " + std::to_string(w * 4);
  }
  void note_write(int thread, int w) {
    Word& at = word(w);
    if (at.in_flight) complain("writes to the target of a copy in flight", w);
    if (at.written == epoch_ && at.writer != thread) complain("two threads write between two barriers", w);
    if (at.read == epoch_ && at.reader != thread) complain("writes what another thread reads between two barriers", w);
    at.written = epoch_;
    at.writer = thread;
  }
  void note_read(int thread, int w) {
    Word& at = word(w);
    if (at.written < 0) complain("reads what nobody wrote", w);
    if (at.in_flight) complain("reads the target of a copy in flight", w);
    if (at.written == epoch_ && at.writer != thread) complain("reads what another thread writes between barriers", w);
    at.reader = at.read == epoch_ && at.reader != thread ? -2 : thread;
    at.read = epoch_;
  }

  Timing timing_;
  std::vector<std::byte> memory_;
  std::vector<Word> words_;
  std::deque<std::vector<Copy>> groups_;
  std::deque<std::vector<Product>> products_{1};
  std::vector<int> unpublished_;
  int epoch_ = 0;
  std::string trouble_;
};

/// Runs the bodies of execution.hpp and the programs of products one after another.
struct EmulatedExecution : HostExecution {
  Timing timing{};
  bool warpgroups = false;  ///< multiply as Hopper does
  bool boxes = false;       ///< and copy (box_emulator.hpp)
};

inline bool has_warpgroup_products(const EmulatedExecution& on) { return on.warpgroups; }
inline bool has_box_copies(const EmulatedExecution& on) { return on.boxes; }

/// run(index), which says what went wrong, for every tile, phase and split of the plan.
template <class Run>
void each_tile_of(const char* name, const ProductPlan& plan, const Run& run) {
  for (int split = 0; split < plan.splits; ++split)
    for (int phase = 0; phase < plan.phases; ++phase)
      for (int tile = 0; tile < plan.tiles(); ++tile) {
        const std::string trouble = run(BlockIndex{tile, phase, split});
        INFO(std::string(name) << ", tile " << tile << ", phase " << phase << ", split " << split);
        CHECK(trouble == "");
        if (!trouble.empty()) return;
      }
}

template <class Program>
void run_tiles(const EmulatedExecution& on, const char* name, const ProductPlan& plan, const Program& program) {
  using Tile = typename Program::Tile;
  each_tile_of(name, plan, [&](const BlockIndex& index) {
    EmulatedBlock<Tile::threads> block(Tile::shared_bytes, on.timing);
    program(block, index);
    return block.trouble();
  });
}

}  // namespace ulna::cuda

#include "box_emulator.hpp"  // convolutions on tensor cores may ask for boxes
