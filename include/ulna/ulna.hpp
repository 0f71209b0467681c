// SPDX-License-Identifier: MIT
// Everything but CUDA, and but the optional components that need further libraries (ulna::image for image files and folders,
// ulna::report for pictures and tables).
#pragma once

#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/data/augment.hpp"
#include "ulna/data/image.hpp"
#include "ulna/data/loader.hpp"
#include "ulna/data/normalize.hpp"
#include "ulna/data/synthetic.hpp"
#include "ulna/model/attention_unet.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/predict/blend.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/predict/segment.hpp"
#include "ulna/program.hpp"
#include "ulna/train/checkpoint.hpp"
#include "ulna/train/fit.hpp"
#include "ulna/train/trainer.hpp"
#include "ulna/train/weight_average.hpp"
#include "ulna/weights/model_file.hpp"
