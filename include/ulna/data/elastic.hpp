// SPDX-License-Identifier: MIT
// The elastic deformation of the U-Net paper (section 3.1, "Data Augmentation").
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "ulna/error.hpp"
#include "ulna/random.hpp"

namespace ulna {

/// A smooth random displacement of every pixel of a patch: vectors drawn from N(0, sigma) on a coarse grid x grid of
/// nodes that spans the patch (corner to corner), interpolated bicubically.
///
/// The interpolation is Keys' cubic convolution (a = -1/2). A node beyond the border continues the two beside it
/// linearly, so that the field passes through all nodes and reproduces linear fields exactly. As both are linear in the
/// nodes, the weight of node k for row r is a number w_k(r), and the field is sum_jk w_j(r) w_k(c) node_jk.
class ElasticField {
 public:
  struct Vector {
    float row = 0, column = 0;  ///< pixels
  };

  /// Draws the nodes. Throws ArgumentError unless height, width >= 1, grid >= 2 and sigma >= 0 (pixels).
  ElasticField(int height, int width, int grid, float sigma, Random& random) : grid_(grid), width_(width) {
    if (height < 1 || width < 1 || grid < 2 || !(sigma >= 0)) {
      throw ArgumentError("elastic deformation of " + std::to_string(height) + " x " + std::to_string(width) +
                          " pixels with grid " + std::to_string(grid) + " and sigma " + std::to_string(sigma) +
                          "; the patch must have pixels, grid be 2 or more, sigma 0 or more");
    }
    row_weights_ = weights(height, grid);
    column_weights_ = weights(width, grid);
    nodes_.resize(static_cast<std::size_t>(grid) * static_cast<std::size_t>(grid));
    for (Vector& node : nodes_) {
      node.row = sigma * random.normal();
      node.column = sigma * random.normal();
    }
  }

  /// The displacements of the pixels of one row; `out` holds `width` vectors.
  void row(int row, Vector* out) const {
    const auto grid = static_cast<std::size_t>(grid_);
    std::vector<Vector> column_nodes(grid);  // the grid's columns, interpolated to this row
    for (std::size_t j = 0; j < grid; ++j) {
      const float weight = row_weights_[static_cast<std::size_t>(row) * grid + j];
      for (std::size_t k = 0; k < grid; ++k) {
        column_nodes[k].row += weight * nodes_[j * grid + k].row;
        column_nodes[k].column += weight * nodes_[j * grid + k].column;
      }
    }
    for (std::size_t column = 0; column < static_cast<std::size_t>(width_); ++column) {
      const float* weight = &column_weights_[column * grid];
      Vector sum;
      for (std::size_t k = 0; k < grid; ++k) {
        sum.row += weight[k] * column_nodes[k].row;
        sum.column += weight[k] * column_nodes[k].column;
      }
      out[column] = sum;
    }
  }

  /// The drawn vector of a node.
  Vector node(int row, int column) const {
    return nodes_[static_cast<std::size_t>(row) * static_cast<std::size_t>(grid_) + static_cast<std::size_t>(column)];
  }

 private:
  /// For each of `count` positions spread over the grid, the weights of its nodes.
  static std::vector<float> weights(int count, int grid) {
    std::vector<float> all(static_cast<std::size_t>(count) * static_cast<std::size_t>(grid), 0.0f);
    for (int i = 0; i < count; ++i) {
      const double position = count > 1 ? static_cast<double>(i) * (grid - 1) / (count - 1) : 0.0;
      const int cell = std::min(static_cast<int>(position), grid - 2);
      const double t = position - cell;
      const std::array<double, 4> keys = {t * (-0.5 + t * (1 - 0.5 * t)), 1 + t * t * (-2.5 + 1.5 * t),
                                          t * (0.5 + t * (2 - 1.5 * t)), t * t * (-0.5 + 0.5 * t)};
      float* const row = &all[static_cast<std::size_t>(i) * static_cast<std::size_t>(grid)];
      for (int tap = 0; tap < 4; ++tap) {
        const int node = cell - 1 + tap;
        const auto weight = static_cast<float>(keys[static_cast<std::size_t>(tap)]);
        if (node < 0) {  // node[-1] = 2 node[0] - node[1]
          row[0] += 2 * weight;
          row[1] -= weight;
        } else if (node >= grid) {
          row[grid - 1] += 2 * weight;
          row[grid - 2] -= weight;
        } else {
          row[node] += weight;
        }
      }
    }
    return all;
  }

  int grid_, width_;
  std::vector<float> row_weights_, column_weights_;
  std::vector<Vector> nodes_;
};

}  // namespace ulna
