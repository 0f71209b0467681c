// SPDX-License-Identifier: MIT
// Networks of one's own: other parts in a known network are one line, and a network can be a part of another.
#include <iomanip>
#include <iostream>
#include <string>
#include <ulna/model/attention_unet.hpp>
#include <ulna/model/r2_unet.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/model/unet_plus_plus.hpp>
#include <ulna/program.hpp>

/// A block is anything that makes `channels` channels of what it is given. This one looks at two scales at once: half
/// of the channels come from a dilated convolution.
template <class Style>
struct TwoScales {
  static constexpr ulna::Value lower(ulna::Builder& b, ulna::Value x, int channels) {
    const auto half = [&](int count, int dilation, const char* name) {
      const auto s = b.scope(name);
      const ulna::Value y = ulna::layer::conv(b, x, {.channels = count, .dilation = dilation, .bias = Style::bias});
      return Style::activation_layer::lower(b, Style::norm_layer::lower(b, y));
    };
    return ulna::op::concat(b, half(channels - channels / 2, 1, "near"), half(channels / 2, 2, "far"));
  }
};

// One line each: a block of one's own in any network; gates, recurrent blocks and nested skips in any combination.
using Blocks = ulna::Blocks<TwoScales>;
using TwoScaleUNet = ulna::UNet<ulna::Width<16>, Blocks>;
using GatedUNet = ulna::UNet<ulna::Width<16>, ulna::gate::Popular<>>;
using GatedNested = ulna::UNetPlusPlus<ulna::Width<16>, ulna::Depth<3>, ulna::gate::Popular<>, Blocks>;
using RecurrentNested = ulna::UNetPlusPlus<ulna::Width<16>, ulna::Depth<3>, ulna::R2Blocks<ulna::Steps<3>>>;

/// A network is anything that lowers an image, and networks are layers: a shallow U-Net judges, and a second one sees
/// the image beside that judgement. Both answers are supervised; the first can be read under "coarse/logits".
struct Cascade {
  static constexpr const char* name = "Cascade";
  using Coarse = ulna::UNet<ulna::Width<8>, ulna::Depth<3>>;
  using Fine = ulna::UNet<ulna::Width<8>, ulna::Depth<2>, Blocks>;

  static constexpr ulna::Value lower(ulna::Builder& b, ulna::Value image) {
    const ulna::Value first = coarse(b, image);
    const auto s = b.scope("fine");
    const ulna::Value second = Fine::lower(b, ulna::op::concat(b, image, ulna::Softmax::lower(b, first)));
    b.supervise(first, 0.3f);
    b.supervise(second, 0.7f);
    return second;
  }

 private:
  static constexpr ulna::Value coarse(ulna::Builder& b, ulna::Value image) {
    const auto s = b.scope("coarse");
    const ulna::Value logits = Coarse::lower(b, image);
    b.publish("logits", logits);
    return logits;
  }
};

template <class Net>
using Bound = ulna::Program<Net, ulna::Image<1, 128, 128>>;

// What is known of any network is known of these: the parts of a cascade add up (its second part sees 1 + 2 channels).
static_assert(Bound<Cascade>::parameter_count ==
              Bound<Cascade::Coarse>::parameter_count +
                  ulna::Program<Cascade::Fine, ulna::Image<3, 128, 128>>::parameter_count);
static_assert(Bound<Cascade>::output_shape == ulna::Shape{2, 1, 128, 128});

/// A row of the table.
void row(const std::string& what, const auto& parameters, const auto& macs, const auto& bytes, const auto& halo) {
  std::cout << std::left << std::setw(34) << what << std::right << std::setw(12) << parameters << std::setw(14) << macs
            << std::setw(12) << bytes << std::setw(11) << halo << '\n';
}

template <class Net>
void print(const char* what) {
  using P = Bound<Net>;
  row(what, P::parameter_count, P::macs, P::inference_bytes(1),
      P::halo.bounded ? std::to_string(P::halo.pixels) : "unbounded");
}

int main() {
  row("network at 128 x 128", "parameters", "MACs", "bytes", "halo");
  print<ulna::UNet<ulna::Width<16>>>("U-Net");
  print<TwoScaleUNet>("U-Net, blocks of one's own");
  print<GatedUNet>("U-Net, gated skips");
  print<GatedNested>("U-Net++, gated skips, own blocks");
  print<RecurrentNested>("U-Net++, recurrent blocks, t = 3");
  print<Cascade>("a cascade of two U-Nets");
  std::cout << '\n' << Bound<Cascade>::summary();
}
