// SPDX-License-Identifier: MIT
// Where values that are no activations live when a backend keeps them in a type of their own.
#pragma once

#include <cstdint>

#include "ulna/graph/plan.hpp"

namespace ulna {

/// Memory for the arena's values that are no activations, beside an arena of smaller elements.
template <int Nodes>
struct MasterPlan {
  FixedVector<std::int64_t, Nodes> offset{};  ///< of each such node, in elements for a batch of one
  std::int64_t size = 0;                      ///< elements for a batch of one
};

/// Best fit by liveness, as in graph/plan.hpp; these values are neither views nor computed in place.
template <class Planned>
constexpr auto plan_master() {
  constexpr const auto& C = Planned::compiled;
  constexpr int n = C.graph.nodes.size();
  MasterPlan<n> plan;
  FixedVector<int, n> last_use{};
  for (int i = 0; i < n; ++i) {
    last_use.push_back(i);
    plan.offset.push_back(-1);
    for (const int x : C.graph.nodes[i].input)
      if (x >= 0) last_use[x] = i;
  }
  for (const Published& p : C.graph.published) last_use[p.node] = n;
  if (C.graph.loss >= 0) last_use[C.graph.loss] = n;
  detail::FreeList free;
  for (int i = 0; i < n; ++i) {
    if (C.plan.places[i].storage != Storage::arena || is_activation(C.graph, i)) continue;
    for (int k = 0; k < i; ++k)
      if (last_use[k] < i && plan.offset[k] >= 0) {  // given back once
        const std::int64_t size = aligned(C.graph.nodes[k].shape.size());
        free.give_back(plan.offset[k], plan.offset[k] + size);
        last_use[k] = n + 1;
      }
    const std::int64_t size = aligned(C.graph.nodes[i].shape.size());
    plan.offset[i] = free.take(size);
    if (plan.offset[i] + size > plan.size) plan.size = plan.offset[i] + size;
  }
  return plan;
}

}  // namespace ulna
