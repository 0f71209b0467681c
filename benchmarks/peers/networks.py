# SPDX-License-Identifier: MIT
"""The networks of benchmarks/networks/networks.hpp in PyTorch, and what Ulna calls their parameters."""
import re
from dataclasses import dataclass
from typing import Callable


@dataclass
class Network:
    title: str
    of: Callable  # models.py
    image: tuple  # channels, height, width
    classes: int
    names: list  # (pattern, Ulna's name), the first that matches

    def build(self):
        import models  # which imports PyTorch: not for those who need the names only
        return self.of(models)


def stage_names(*decoder_parts):
    """Those of a U-Net of depth 4: levels count from the top, decoder stages of models.py from the bottom."""
    names = [(r"enc\.4\.", "bottleneck."), (r"enc\.", "encoder.")]
    for stage in range(4):
        names += [(rf"dec\.{stage}\.{part}\.", f"decoder.{3 - stage}.{ours}") for part, ours in decoder_parts]
    return names


UNET_NAMES = stage_names(("block", ""), ("up", "up."), ("gate", "gate."))
NESTED_NAMES = [(r"node\.(\d)_(\d)", r"level.\1.node.\2"), (r"head\.0", "head")]
TRANSFORMER_NAMES = [
    (r"trunk\.stem\.", "trunk.stem.conv."),
    (r"trunk\.stem_norm", "trunk.stem.norm"),
    (r"trunk\.stage\.(\d+)\.(\d+)\.proj\.", r"trunk.stage.\1.unit.\2.projection.conv."),
    (r"trunk\.stage\.(\d+)\.(\d+)\.norm_proj", r"trunk.stage.\1.unit.\2.projection.norm"),
    (r"trunk\.stage\.(\d+)\.(\d+)", r"trunk.stage.\1.unit.\2"),
    (r"patch\.", "patches.conv."),
    (r"pos$", "patches.position"),
    (r"layers\.(\d+)\.attn", r"transformer.layer.\1.attention"),
    (r"layers\.(\d+)\.fc", r"transformer.layer.\1.mlp.fc"),
    (r"layers\.", "transformer.layer."),
    (r"norm\.", "transformer.norm."),
    (r"bridge_", "bridge."),
    *stage_names(("block", "")),
]

NETWORKS = {
    "unet": Network("U-Net w64 512²", lambda models: models.unet(1, 2, 64), (1, 512, 512), 2, UNET_NAMES),
    "unet_plus_plus": Network("U-Net++ 256²", lambda models: models.unetpp(3, 1), (3, 256, 256), 1, NESTED_NAMES),
    "r2unet": Network("R2U-Net w64 t2 256²", lambda models: models.r2unet(3, 1, 64, 2), (3, 256, 256), 1, UNET_NAMES),
    "attention_unet": Network("Attention U-Net w64 256²", lambda models: models.attention_unet(3, 1, 64), (3, 256, 256), 1, UNET_NAMES),
    "trans_unet": Network("TransUNet B/16 224²", lambda models: models.transunet(9, 224, drop=0.0), (3, 224, 224), 9, TRANSFORMER_NAMES),
}


def names_in_ulna(network, model):
    """From the entries of model.state_dict(), less PyTorch's counters, to Ulna's names."""

    def renamed(name):
        for pattern, ours in network.names:
            if re.match(pattern, name):
                return re.sub("^" + pattern, ours, name)
        return name

    return {name: renamed(name) for name in model.state_dict() if not name.endswith("num_batches_tracked")}
