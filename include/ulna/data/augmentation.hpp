// SPDX-License-Identifier: MIT
// What is varied when a training pair is augmented.
#pragma once

#include <string>

#include "ulna/error.hpp"

namespace ulna {

/// The augmentations and their strengths. A default-constructed one only crops at random places; every other is off
/// until its strength is set. Geometry is shared by image, labels and weights; intensities are those of the normalised
/// image.
struct Augmentation {
  // Geometry.
  bool random_crop = true;        ///< the place of the crop is drawn; false: the middle of the image
  bool flip_horizontal = false;   ///< left and right exchanged, with probability 1/2
  bool flip_vertical = false;     ///< top and bottom exchanged, with probability 1/2
  bool right_angles = false;      ///< rotated by 0, 90, 180 or 270 degrees, equally likely
  float rotation = 0;             ///< rotated by an angle from [-rotation, rotation], degrees; 0..180
  float scaling = 0;              ///< zoomed by a factor from [1 - scaling, 1 + scaling]; 0..0.9
  float elastic_probability = 0;  ///< of an elastic deformation; 0..1
  float elastic_sigma = 10;       ///< deviation of its displacements, pixels; 10 in the U-Net paper; 0..1000
  int elastic_grid = 3;           ///< nodes along each side of the crop; 3 in the U-Net paper; 2..64

  // Intensity, in this order.
  float inversion_probability = 0;  ///< of x <- smallest + largest - x; 0..1
  float gamma = 0;       ///< exponent drawn log-uniformly from [1 / (1 + gamma), 1 + gamma], on min..max; >= 0
  float contrast = 0;    ///< difference to the mean scaled by a factor from [1 - contrast, 1 + contrast]; 0..1
  float brightness = 0;  ///< a constant from [-brightness, brightness] is added; >= 0
  float noise = 0;       ///< Gaussian noise of a deviation drawn from [0, noise] is added; >= 0

  /// Flips in both directions and right-angle rotations: exact, and free for images without a preferred direction.
  static Augmentation dihedral() {
    Augmentation options;
    options.flip_horizontal = options.flip_vertical = options.right_angles = true;
    return options;
  }
};

/// Throws ArgumentError, naming the option, its value and its range, when a strength is out of range.
inline void require_valid(const Augmentation& options) {
  const auto check = [](const char* name, float value, float least, float most) {
    if (value >= least && value <= most) return;
    throw ArgumentError("Augmentation::" + std::string(name) + " is " + std::to_string(value) + "; it must be from " +
                        std::to_string(least) + " to " + std::to_string(most));
  };
  const float large = 1e6f;
  check("rotation", options.rotation, 0, 180);
  check("scaling", options.scaling, 0, 0.9f);
  check("elastic_probability", options.elastic_probability, 0, 1);
  check("elastic_sigma", options.elastic_sigma, 0, 1000);
  check("elastic_grid", static_cast<float>(options.elastic_grid), 2, 64);
  check("inversion_probability", options.inversion_probability, 0, 1);
  check("gamma", options.gamma, 0, large);
  check("contrast", options.contrast, 0, 1);
  check("brightness", options.brightness, 0, large);
  check("noise", options.noise, 0, large);
}

}  // namespace ulna
