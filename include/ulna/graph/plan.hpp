// SPDX-License-Identifier: MIT
// Where every value lives. Views first (concatenation, slices, in-place), then memory by liveness (graph/pack.hpp).
//
// Offsets are in elements, for a batch of one. At batch B every offset and size is multiplied by B, so one plan serves
// every batch; records that do not grow with the batch waste a few bytes by it.
#pragma once

#include <cstdint>

#include "ulna/graph/graph.hpp"
#include "ulna/graph/pack.hpp"
#include "ulna/op/ops.hpp"

namespace ulna {

enum class Storage : std::uint8_t {
  none,        ///< no memory: an op that only has effects
  staging,     ///< images, labels, pixel weights: copied in at the door
  parameter,   ///< the model's parameters
  state,       ///< the model's running statistics
  gradient,    ///< the trainer's gradient buffer
  persistent,  ///< depends on parameters alone: a derived weight
  arena        ///< activations and their gradients
};

/// Where a value lives.
struct Place {
  Storage storage = Storage::none;
  std::int64_t offset = 0;  ///< elements from the start of the storage, before the channel offset
  int channel_offset = 0;   ///< of a view into a wider buffer
  int pixel_stride = 0;     ///< channels of that buffer
  bool is_view = false;     ///< shares the memory of another value
};

/// The plan of a whole graph; `places` runs parallel to its nodes.
template <int Nodes = node_capacity>
struct Plan {
  FixedVector<Place, Nodes> places{};
  std::int64_t arena = 0;       ///< elements for a batch of one
  std::int64_t persistent = 0;  ///< elements
  std::int64_t staging = 0;     ///< elements for a batch of one
  std::int64_t unplanned = 0;   ///< arena elements if every value had memory of its own
};

namespace detail {

class Planner {
 public:
  constexpr explicit Planner(const Graph<>& graph) : g_(graph), n_(graph.nodes.size()) {
    for (int i = 0; i < n_; ++i) {
      parent_.push_back(-1);
      shift_.push_back(0);
      last_use_.push_back(i);
      next_member_.push_back(-1);
      buffer_.push_back(-1);
      copied_.push_back(false);
      plan_.places.push_back({});
    }
    for (int i = 0; i < n_; ++i)
      for (const int x : g_.nodes[i].input)
        if (x >= 0) last_use_[x] = i;
    for (const int kept : {g_.output, g_.loss, g_.image_gradient, g_.output_gradient})
      if (kept >= 0) last_use_[kept] = n_;
    for (const Published& p : g_.published) last_use_[p.node] = n_;
  }

  constexpr Plan<> run() {
    assign_storage();
    arrange();
    if (g_.loss < 0) copy_what_waits();
    allocate();
    return plan_;
  }

 private:
  constexpr bool in_arena(int id) const { return plan_.places[id].storage == Storage::arena; }

  /// Computed from parameters alone, and as large as they are: does not grow with the batch.
  constexpr bool is_weight(int id) const {
    const Node& n = g_.nodes[id];
    if (n.per_sample || n.shape.size() == 0) return false;
    for (int k = 0; k < n.inputs(); ++k)
      if (g_.input(n, k).op != Op::parameter) return false;
    return n.inputs() > 0;
  }

  constexpr void assign_storage() {
    for (int i = 0; i < n_; ++i) {
      const Node& n = g_.nodes[i];
      Place& p = plan_.places[i];
      p.pixel_stride = n.shape.channels;
      if (n.op == Op::parameter) {
        const Parameter& parameter = g_.parameters[n.parameter];
        p.storage = is_trainable(parameter.kind) ? Storage::parameter : Storage::state;
        p.offset = parameter.offset;
      } else if (n.op == Op::input) {
        p.storage = Storage::staging;
        p.offset = plan_.staging;
        plan_.staging += aligned(n.shape.size());
      } else if (n.gradient_of >= 0) {
        p.storage = Storage::gradient;
        p.offset = g_.parameters[n.gradient_of].offset;
      } else if (n.once || is_weight(i)) {
        p.storage = Storage::persistent;
        p.offset = plan_.persistent;
        plan_.persistent += aligned(n.shape.size());
      } else if (n.op == Op::slice && !in_arena(n.input[0])) {  // of the image
        p = plan_.places[n.input[0]];
        p.channel_offset += n.begin;
        p.is_view = true;
      } else if (n.shape.size() > 0) {
        p.storage = Storage::arena;
      }
    }
  }

  /// Decides which values share memory, and lists the buffers that are left.
  constexpr void arrange() {
    for (int i = 0; i < n_; ++i) {
      parent_[i] = next_member_[i] = buffer_[i] = -1;
      shift_[i] = 0;
      swap_operands_[i] = false;
    }
    alias_slices_and_concats();
    alias_in_place();
    list_buffers();
  }

  /// A skip connection that lives in the concatenation of the decoder keeps the rest of that wide buffer from others,
  /// though it is not needed before. At inference such values get memory of their own, and are copied when the
  /// concatenation runs, where that lowers the peak by at least a quarter of what it copies; if they alone do not, then
  /// together with what is computed just before.
  constexpr void copy_what_waits() {
    const std::int64_t peak = least_height(buffers_, n_);
    const std::int64_t copied = copied_elements();
    for (const int least_wait : {1, 0}) {
      FixedVector<int, node_capacity> chosen{};
      for (int i = 0; i < n_; ++i) {
        if (g_.nodes[i].op != Op::concat) continue;
        for (const int x : g_.nodes[i].input)
          if (x >= 0 && x + least_wait < i && may_be_view(x) && !copied_[x]) {
            chosen.push_back(x);
            copied_[x] = true;
          }
      }
      if (chosen.empty()) return;
      arrange();
      const std::int64_t lower = least_height(buffers_, n_);
      if (lower < peak) {
        for (const int x : chosen) copied_[x] = !fits_in_concat(x, lower);
        arrange();
        if (4 * (peak - least_height(buffers_, n_)) >= copied_elements() - copied) return;
      }
      for (const int x : chosen) copied_[x] = false;
    }
    arrange();
  }

  /// Whether no more than `height` is needed at once when value x, which has memory of its own now, lives in the last
  /// concatenation that reads it. If so, buffers_ has it there.
  constexpr bool fits_in_concat(int x, std::int64_t height) {
    const int reader = last_use_[x];
    if (reader == n_ || g_.nodes[reader].op != Op::concat) return false;
    ArenaBuffer& own = buffers_[buffer_[root(x)]];
    ArenaBuffer& whole = buffers_[buffer_[root(reader)]];
    const ArenaBuffer own_before = own;
    const ArenaBuffer whole_before = whole;
    int others = -1;  // the last node that reads what x is written over
    for (int m = own.id; m >= 0; m = next_member_[m])
      if (m != x && last_use_[m] > others) others = last_use_[m];
    if (others > x) return false;
    const int written = own.id == x ? own.begin : x;
    if (written < whole.begin) whole.begin = written;
    own.end = x;
    if (others < 0) own.size = 0;
    if (least_height(buffers_, n_) <= height) return true;
    own = own_before;
    whole = whole_before;
    return false;
  }

  /// What concatenations copy.
  constexpr std::int64_t copied_elements() const {
    std::int64_t sum = 0;
    for (int i = 0; i < n_; ++i) {
      const Node& n = g_.nodes[i];
      int begin = 0;
      for (int k = 0; n.op == Op::concat && k < n.inputs(); ++k) {
        const int x = n.input[static_cast<std::size_t>(k)];
        if (root(x) != root(i) || channel_in_root(x) != channel_in_root(i) + begin) sum += g_.nodes[x].shape.size();
        begin += g_.nodes[x].shape.channels;
      }
    }
    return sum;
  }

  /// `child` lives in `parent` from channel `shift` on.
  constexpr void make_view(int child, int parent, int shift) {
    parent_[child] = parent;
    shift_[child] = shift;
  }

  /// A value that several concatenations read, as in a row of U-Net++, lives in one of them and is copied to the
  /// others. At inference that is the last, which outlives the others. Training keeps every one until its weights'
  /// gradients, and the first is the one that is there already. A concatenation that is dropped and computed again
  /// has two short lives: what lives longer is copied there.
  constexpr void alias_slices_and_concats() {
    const bool training = g_.loss >= 0;
    for (int step = 0; step < n_; ++step) {
      const int i = training ? step : n_ - 1 - step;
      const Node& n = g_.nodes[i];
      if (n.op == Op::slice && in_arena(i)) make_view(i, n.input[0], n.begin);
      if (n.op != Op::concat) continue;
      int begin = 0;
      for (int k = 0; k < n.inputs(); ++k) {
        const int x = n.input[static_cast<std::size_t>(k)];
        if (may_be_view(x) && parent_[x] < 0 && !copied_[x] && !outlives(x, i)) make_view(x, i, begin);
        begin += g_.nodes[x].shape.channels;
      }
    }
  }

  /// Whether a concatenation may hold value x.
  constexpr bool may_be_view(int x) const {
    return in_arena(x) && g_.nodes[x].per_sample && g_.nodes[x].op != Op::slice;
  }

  /// Whether value x lives longer than a concatenation that is computed twice.
  constexpr bool outlives(int x, int concat) const {
    switch (g_.nodes[concat].repeat) {
      case Repeat::no:
        return false;
      case Repeat::dropped:
        return last_use_[x] > last_use_[concat];
      case Repeat::again:
        return g_.nodes[x].repeat != Repeat::again;
    }
    return false;
  }

  constexpr int root(int id) const {
    while (parent_[id] >= 0) id = parent_[id];
    return id;
  }
  constexpr int channel_in_root(int id) const {
    int c = 0;
    for (; parent_[id] >= 0; id = parent_[id]) c += shift_[id];
    return c;
  }

  /// The last node that reads any value whose channels overlap those of `id`.
  constexpr int last_use_of_memory(int id) const {
    const int r = root(id);
    const int begin = channel_in_root(id);
    const int end = begin + g_.nodes[id].shape.channels;
    int last = 0;
    for (int m = r; m >= 0; m = next_member_[m]) {
      const int c = channel_in_root(m);
      if (c < end && begin < c + g_.nodes[m].shape.channels && last_use_[m] > last) last = last_use_[m];
    }
    return last;
  }

  /// Whether values share memory.
  constexpr bool overlap(int x, int y) const {
    const int begin = channel_in_root(x) - channel_in_root(y);
    return root(x) == root(y) && begin < g_.nodes[y].shape.channels && -begin < g_.nodes[x].shape.channels;
  }

  constexpr void join_members(int id) {
    const int r = root(id);
    if (r == id) return;
    next_member_[id] = next_member_[r];
    next_member_[r] = id;
  }

  constexpr void alias_in_place() {
    for (int i = 0; i < n_; ++i)
      if (in_arena(i)) join_members(i);
    for (int i = 0; i < n_; ++i) {
      const Node& n = g_.nodes[i];
      if (!in_arena(i) || parent_[i] >= 0 || next_member_[i] >= 0) continue;
      const bool residual = n.residual != ResidualSum::none;
      const int slot = residual ? residual_input : with_rule(n.op, [](auto rule) { return decltype(rule)::in_place; });
      if (slot < 0) continue;
      // a sum may take over either operand
      for (int k = slot; k <= (n.op == Op::add ? 1 : slot); ++k) {
        const int x = n.input[static_cast<std::size_t>(k)];
        const bool twice = n.op == Op::add && n.input[0] == n.input[1];
        if (!in_arena(x) || g_.nodes[x].shape != n.shape || g_.nodes[x].per_sample != n.per_sample || twice) continue;
        if (last_use_of_memory(x) != i || (residual && overlap(x, n.input[0]))) continue;
        if (k == 1) swap_operands_[i] = true;
        make_view(i, root(x), channel_in_root(x));  // not x, to keep the way to the root short
        join_members(i);
        break;
      }
    }
  }

  /// What has memory of its own, in the order in which it is written first.
  constexpr void list_buffers() {
    buffers_.count = 0;
    const auto write = [&](int id, int writer) {
      const int r = root(id);
      if (!in_arena(id) || buffer_[r] >= 0) return;
      buffer_[r] = buffers_.size();
      buffers_.push_back({.id = r, .size = size_of(r), .begin = writer, .end = writer});
    };
    for (int i = 0; i < n_; ++i) {
      write(i, i);
      if (const int pool = pool_of(g_, i); pool >= 0) write(pool, i);
    }
    for (int i = 0; i < n_; ++i) {
      if (!in_arena(i)) continue;
      ArenaBuffer& b = buffers_[buffer_[root(i)]];
      if (last_use_[i] > b.end) b.end = last_use_[i];
    }
  }

  constexpr void allocate() {
    Packer packer(buffers_, n_);
    packer.pack_in_order();
    if (g_.loss < 0) packer.pack_by_size();
    plan_.arena = packer.height();
    for (int k = 0; k < buffers_.size(); ++k) plan_.places[buffers_[k].id].offset = packer.offset(k);
    for (int i = 0; i < n_; ++i) {
      if (!in_arena(i)) continue;
      plan_.unplanned += size_of(i);
      if (parent_[i] < 0) continue;
      const int r = root(i);
      Place& p = plan_.places[i];
      p.offset = plan_.places[r].offset;
      p.channel_offset = channel_in_root(i);
      p.pixel_stride = g_.nodes[r].shape.channels;
      p.is_view = true;
    }
  }

  constexpr std::int64_t size_of(int id) const { return aligned(g_.nodes[id].shape.size()); }

  const Graph<>& g_;
  int n_;
  Plan<> plan_{};
  FixedVector<int, node_capacity> parent_{};
  FixedVector<int, node_capacity> shift_{};
  FixedVector<int, node_capacity> last_use_{};
  FixedVector<int, node_capacity> next_member_{};
  FixedVector<int, node_capacity> buffer_{};   ///< of a root: which of the buffers it is
  FixedVector<bool, node_capacity> copied_{};  ///< lives in no concatenation, though it might
  FixedVector<ArenaBuffer, node_capacity> buffers_{};

 public:
  bool swap_operands_[node_capacity]{};  ///< sums that write into their second operand
};

}  // namespace detail

/// Plans the memory of a graph. May swap the operands of sums, so that a sum always writes into its first operand.
constexpr Plan<> plan(Graph<>& graph) {
  detail::Planner planner{graph};
  const Plan<> result = planner.run();
  for (int i = 0; i < graph.nodes.size(); ++i)
    if (planner.swap_operands_[i]) {
      const int first = graph.nodes[i].input[0];
      graph.nodes[i].input[0] = graph.nodes[i].input[1];
      graph.nodes[i].input[1] = first;
    }
  return result;
}

}  // namespace ulna
