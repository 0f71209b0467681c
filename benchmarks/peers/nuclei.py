#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The PyTorch side of benchmarks/nuclei: the same recipe, models.py's networks, one line of JSON for each result.

Same data, crops, augmentation, loss, optimizer, schedule, initialisation and scoring as benchmarks/nuclei/recipe.hpp;
the random numbers differ.

  nuclei.py DIR [--network NAME]... [--seed S]... [--steps N]
"""
import argparse
import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import models as M

WIDTH, CROP, BATCH, RATE = 16, 128, 8, 1e-3
EXTENTS = [(256, 256), (256, 320), (384, 384), (544, 704), (1024, 1024)]


def r2unet_per_step(**arguments):
    """R2U-Net with running statistics of its own for each step, as Ulna's default has."""
    model = M.r2unet(**arguments)
    for module in model.modules():
        if isinstance(module, M.RecurrentConv):
            module.norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(module.norm.num_features) for _ in range(module.t + 1)])
            for other in module.norms[1:]:  # scale and shift are shared
                other.weight, other.bias = module.norms[0].weight, module.norms[0].bias
            del module.norm
            module.forward = lambda x, m=module: recurrent(m, x)
    return model


def recurrent(m, x):
    y = F.relu(m.norms[0](m.conv(x)))
    for step in range(m.t):
        y = F.relu(m.norms[step + 1](m.conv(x + y)))
    return y


NETWORKS = {
    "unet": lambda: M.unet(1, 2, WIDTH),
    "unet++": lambda: M.unetpp(1, 2, tuple(WIDTH << i for i in range(5)), deep_supervision=True),
    "r2unet": lambda: r2unet_per_step(cin=1, classes=2, width=WIDTH),
    "attention_unet": lambda: M.attention_unet(1, 2, WIDTH),
}


def load(root, split):
    samples = []
    for stem in open(f"{root}/{split}.txt").read().split():
        x = np.asarray(Image.open(f"{root}/images/{stem}.png").convert("L"), dtype=np.float32)
        y = (np.asarray(Image.open(f"{root}/masks/{stem}.png")) > 0).astype(np.int64)
        samples.append(((x - x.mean()) / max(x.std(), 1e-8), y))
    return samples


def crop_of(rng, x, y):
    top, left = rng.integers(0, y.shape[0] - CROP + 1), rng.integers(0, y.shape[1] - CROP + 1)
    x, y = (a[top:top + CROP, left:left + CROP] for a in (x, y))
    turns = rng.integers(4)
    x, y = np.rot90(x, turns), np.rot90(y, turns)
    for axis in (0, 1):
        if rng.random() < 0.5:
            x, y = np.flip(x, axis), np.flip(y, axis)
    if rng.random() < 0.3:
        x = x.min() + x.max() - x
    mean = x.mean()
    return (x - mean) * rng.uniform(0.8, 1.2) + mean + rng.uniform(-0.2, 0.2), y


def batches(rng, samples):
    order = []
    while True:
        xs, ys = [], []
        for _ in range(BATCH):
            if not order:
                order = list(rng.permutation(len(samples)))
            x, y = crop_of(rng, *samples[order.pop()])
            xs.append(x.astype(np.float32))
            ys.append(y)
        yield torch.tensor(np.stack(xs))[:, None], torch.tensor(np.stack(ys))


def loss_of(logits, y):
    """Cross-entropy + 1 - mean over classes of (2 sum p y + 1) / (sum p + sum y + 1), sums over the batch."""
    p = logits.softmax(1)
    one_hot = F.one_hot(y, logits.shape[1]).permute(0, 3, 1, 2)
    over = (0, 2, 3)
    dice = (2 * (p * one_hot).sum(over) + 1) / (p.sum(over) + one_hot.sum(over) + 1)
    return F.cross_entropy(logits, y) + 1 - dice.mean()


def heads_of(output):
    return output if isinstance(output, list) else [output]


def score(model, samples):
    model.eval()
    ious, dices = [], []
    with torch.no_grad():
        for x, y in samples:
            height, width = next(e for e in EXTENTS if e[0] >= y.shape[0] and e[1] >= y.shape[1])
            padded = np.pad(x, ((0, height - y.shape[0]), (0, width - y.shape[1])), "reflect")
            heads = heads_of(model(torch.tensor(padded)[None, None]))
            p = (sum(heads) / len(heads)).argmax(1)[0].numpy()[:y.shape[0], :y.shape[1]]
            both, either = ((p == 1) & (y == 1)).sum(), ((p == 1) | (y == 1)).sum()
            ious.append(both / either if either else 1.0)
            dices.append(2 * both / (either + both) if either else 1.0)
    return float(np.mean(ious)), float(np.mean(dices))


def run(name, train, test, seed, steps):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = NETWORKS[name]().to(memory_format=torch.channels_last)
    M.init_he_normal(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    source = batches(rng, train)
    start = time.time()
    for step in range(1, steps + 1):
        x, y = next(source)
        heads = heads_of(model(x.contiguous(memory_format=torch.channels_last)))
        loss = sum(loss_of(h, y) for h in heads) / len(heads)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"{name}: step {step}, loss {loss.item():.4f}, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    training = time.time() - start
    iou, dice = score(model, test)
    print(json.dumps({"peer": "pytorch " + torch.__version__, "network": name, "seed": seed, "steps": steps,
                      "parameters": M.count_params(model), "iou": iou, "dice": dice, "training_seconds": training}),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    train, test = load(arguments.root, "train"), load(arguments.root, "test")
    for name in arguments.network or NETWORKS:
        for seed in arguments.seed or [1]:
            run(name, train, test, seed, arguments.steps)


if __name__ == "__main__":
    main()
