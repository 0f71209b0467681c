# SPDX-License-Identifier: MIT
"""What the PyTorch sides of benchmarks/nuclei and benchmarks/acdc share: images, loss and the training loop."""
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import models as M

torch.set_num_threads(len(os.sched_getaffinity(0)))


def stems(root, split):
    return open(f"{root}/{split}.txt").read().split()


def load(root, split, labels_of):
    """Grey images of zero mean and unit deviation, and labels."""
    samples = []
    for stem in stems(root, split):
        x = np.asarray(Image.open(f"{root}/images/{stem}.png").convert("L"), dtype=np.float32)
        y = labels_of(np.asarray(Image.open(f"{root}/masks/{stem}.png"))).astype(np.int64)
        samples.append(((x - x.mean()) / max(x.std(), 1e-8), y))
    return samples


def dihedral(rng, x, y):
    """Turned by a right angle, flipped or not."""
    turns = rng.integers(4)
    x, y = np.rot90(x, turns), np.rot90(y, turns)
    for axis in (0, 1):
        if rng.random() < 0.5:
            x, y = np.flip(x, axis), np.flip(y, axis)
    return x, y


def intensity(rng, x):
    """Contrast and brightness, each up to 0.2."""
    mean = x.mean()
    return (x - mean) * rng.uniform(0.8, 1.2) + mean + rng.uniform(-0.2, 0.2)


def batches(rng, samples, batch, crop_of):
    """Crops of all samples in random order, again and again."""
    order = []
    while True:
        xs, ys = [], []
        for _ in range(batch):
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


def train(name, model, source, steps, rate):
    """Trains with Adam, its rate falling to 0 along a cosine, and returns the seconds."""
    M.init_he_normal(model)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
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
    return time.time() - start
