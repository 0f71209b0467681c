// SPDX-License-Identifier: MIT
#include <ulna/model/fcn.hpp>

#include "networks.hpp"
#include "run.hpp"

std::vector<nuclei::Result> nuclei::fcn8s(const Data& data, const Options& options) {
  return run<ulna::FCN<ulna::Width<width>, ulna::norm::Batch>>("fcn8s", data, options);
}
