// SPDX-License-Identifier: MIT
// Where every value lives. Views first (concatenation, slices, in-place), then memory by liveness: best fit in the
// order of execution, or at inference the largest first, whichever takes less.
//
// Offsets are in elements, for a batch of one. At batch B every offset and size is multiplied by B, so one plan serves
// every batch; records that do not grow with the batch waste a few bytes by it.
#pragma once

#include <cstdint>

#include "ulna/graph/graph.hpp"
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

/// Elements that buffers are rounded up to: 64 bytes of float.
inline constexpr std::int64_t alignment_elements = 16;

constexpr std::int64_t aligned(std::int64_t n) {
  return (n + alignment_elements - 1) / alignment_elements * alignment_elements;
}

namespace detail {

/// The free addresses of an arena without end, as gaps in rising order.
class FreeList {
 public:
  constexpr FreeList() { gaps_.push_back({0, std::int64_t{1} << 62}); }

  /// The beginning of the smallest gap that holds `size`, which is then taken.
  constexpr std::int64_t take(std::int64_t size) {
    int best = gaps_.size() - 1;
    for (int k = 0; k + 1 < gaps_.size(); ++k)
      if (gaps_[k].length() >= size && gaps_[k].length() < gaps_[best].length()) best = k;
    const std::int64_t begin = gaps_[best].begin;
    gaps_[best].begin += size;
    if (gaps_[best].length() == 0) erase(best);
    return begin;
  }

  constexpr void give_back(std::int64_t begin, std::int64_t end) {
    int k = 0;
    while (gaps_[k].end < begin) ++k;
    if (gaps_[k].end == begin) {
      gaps_[k].end = end;
      if (gaps_[k + 1].begin == end) {
        gaps_[k].end = gaps_[k + 1].end;
        erase(k + 1);
      }
    } else if (gaps_[k].begin == end) {
      gaps_[k].begin = begin;
    } else {
      gaps_.push_back({});
      for (int i = gaps_.size() - 1; i > k; --i) gaps_[i] = gaps_[i - 1];
      gaps_[k] = {begin, end};
    }
  }

 private:
  struct Gap {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    constexpr std::int64_t length() const { return end - begin; }
  };

  constexpr void erase(int k) {
    for (int i = k; i + 1 < gaps_.size(); ++i) gaps_[i] = gaps_[i + 1];
    gaps_.pop_back();
  }

  FixedVector<Gap, node_capacity> gaps_{};
};

class Planner {
 public:
  constexpr explicit Planner(const Graph<>& graph) : g_(graph), n_(graph.nodes.size()) {
    for (int i = 0; i < n_; ++i) {
      parent_.push_back(-1);
      shift_.push_back(0);
      last_use_.push_back(i);
      next_member_.push_back(-1);
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
    alias_slices_and_concats();
    alias_in_place();
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
        if (in_arena(x) && parent_[x] < 0 && g_.nodes[x].per_sample && g_.nodes[x].op != Op::slice && !outlives(x, i))
          make_view(x, i, begin);
        begin += g_.nodes[x].shape.channels;
      }
    }
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
        make_view(i, x, 0);
        join_members(i);
        break;
      }
    }
  }

  constexpr void allocate() {
    for (int i = 0; i < n_; ++i) {
      begin_.push_back(-1);
      end_.push_back(last_use_[i]);
    }
    for (int i = 0; i < n_; ++i) {
      if (!in_arena(i)) continue;
      if (last_use_[i] > end_[root(i)]) end_[root(i)] = last_use_[i];
      plan_.unplanned += size_of(i);
    }
    allocate_in_order();
    if (g_.loss < 0) allocate_by_size();
    for (int i = 0; i < n_; ++i) {
      if (!in_arena(i) || parent_[i] < 0) continue;
      const int r = root(i);
      Place& p = plan_.places[i];
      p.offset = plan_.places[r].offset;
      p.channel_offset = channel_in_root(i);
      p.pixel_stride = g_.nodes[r].shape.channels;
      p.is_view = true;
    }
  }

  constexpr std::int64_t size_of(int id) const { return aligned(g_.nodes[id].shape.size()); }

  /// Each buffer in turn goes to the best gap among those that live then.
  constexpr void allocate_in_order() {
    FixedVector<int, node_capacity> first_dying{};  // roots whose last use a node is, as lists
    FixedVector<int, node_capacity> next_dying{};
    for (int i = 0; i < n_; ++i) {
      first_dying.push_back(-1);
      next_dying.push_back(-1);
    }
    FreeList free;
    const auto write = [&](int id, int writer) {
      const int r = root(id);
      if (!in_arena(id) || begin_[r] >= 0) return;
      begin_[r] = writer;
      const std::int64_t offset = free.take(size_of(r));
      plan_.places[r].offset = offset;
      if (offset + size_of(r) > plan_.arena) plan_.arena = offset + size_of(r);
      if (end_[r] == n_) return;
      next_dying[r] = first_dying[end_[r]];
      first_dying[end_[r]] = r;
    };
    for (int i = 0; i < n_; ++i) {
      write(i, i);
      if (const int pool = pool_of(g_, i); pool >= 0) write(pool, i);
      for (int r = first_dying[i]; r >= 0; r = next_dying[r]) {
        const std::int64_t offset = plan_.places[r].offset;
        free.give_back(offset, offset + size_of(r));
      }
    }
  }

  /// The largest buffers first, each as low as those that live at the same time let it lie: kept where it takes less.
  constexpr void allocate_by_size() {
    FixedVector<int, node_capacity> by_size{};
    FixedVector<int, node_capacity> by_offset{};  // those that have their place
    FixedVector<std::int64_t, node_capacity> offset{};
    FixedVector<std::int64_t, node_capacity> smallness{};
    for (int i = 0; i < n_; ++i) {
      offset.push_back(0);
      smallness.push_back(-size_of(i));
      if (in_arena(i) && parent_[i] < 0) insert(by_size, i, smallness);
    }
    std::int64_t arena = 0;
    for (const int r : by_size) {
      for (const int other : by_offset) {
        if (end_[other] < begin_[r] || end_[r] < begin_[other]) continue;
        if (offset[other] >= offset[r] + size_of(r)) break;
        if (offset[other] + size_of(other) > offset[r]) offset[r] = offset[other] + size_of(other);
      }
      if (offset[r] + size_of(r) > arena) arena = offset[r] + size_of(r);
      insert(by_offset, r, offset);
    }
    if (arena >= plan_.arena) return;
    plan_.arena = arena;
    for (const int r : by_size) plan_.places[r].offset = offset[r];
  }

  /// Inserts `id` into a list that is sorted by rising keys.
  static constexpr void insert(FixedVector<int, node_capacity>& list, int id,
                               const FixedVector<std::int64_t, node_capacity>& key) {
    list.push_back(id);
    for (int k = list.size() - 1; k > 0 && key[list[k - 1]] > key[id]; --k) {
      list[k] = list[k - 1];
      list[k - 1] = id;
    }
  }

  const Graph<>& g_;
  int n_;
  Plan<> plan_{};
  FixedVector<int, node_capacity> parent_{};
  FixedVector<int, node_capacity> shift_{};
  FixedVector<int, node_capacity> last_use_{};
  FixedVector<int, node_capacity> next_member_{};
  FixedVector<int, node_capacity> begin_{};  ///< of a root: the first node that writes into it
  FixedVector<int, node_capacity> end_{};    ///< of a root: the last that reads from it

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
