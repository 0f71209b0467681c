#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Another framework at work for benchmarks/run.sh, as benchmarks/networks/worker.hpp is for Ulna.

Standard input holds a Job as JSON, then a line for each iteration, then "end"; and so on with the next job. Answers
"ready" after the first results, the milliseconds of each iteration, and facts as JSON at the end.

A setting is FRAMEWORK[:PART+PART...]. Parts of PyTorch's:
  eager           as it comes
  channels_last   images and weights in channels-last order
  frozen          traced, frozen (norms folded into convolutions) and optimize_for_inference
  compile         torch.compile; at inference with Inductor's freezing
  max_autotune    torch.compile with mode max-autotune (on a device it replays CUDA graphs, too)
  cuda_graph      captured once and replayed
  autocast        torch.autocast to bfloat16
  bfloat16        model.bfloat16()
onnxruntime runs with every graph optimisation; openvino with the performance hint LATENCY.
"""
import contextlib
import ctypes
import gc
import json
import os
import sys
import time
from dataclasses import dataclass

import numpy as np

import tensors


@dataclass
class Job:
    setting: str
    network: str
    mode: str  # inference or training
    precision: str  # fp32, tf32 or bf16
    batch: int
    folder: str  # of prepare.py
    results: str
    threads: int
    device: str  # cpu or cuda


def available_threads():
    return len(os.sched_getaffinity(0))


def batch_of(job):
    arrays = tensors.read(f"{job.folder}/batch_{job.batch}.safetensors")
    return np.ascontiguousarray(arrays["images"].transpose(0, 3, 1, 2)), arrays["labels"]


def load_model(network, folder, device="cpu"):
    import networks
    import torch
    with contextlib.nullcontext() if device == "cpu" else torch.device(device):  # made there, the sooner
        model = network.build()
    weights, state = tensors.read(f"{folder}/weights.safetensors"), model.state_dict()
    with torch.no_grad():
        for name, ours in networks.names_in_ulna(network, model).items():  # tensor by tensor: no second copy of them all
            state[name].copy_(torch.from_numpy(np.array(weights[ours])))
    return model


class PyTorch:
    """From memory of the host to memory of the host, as Ulna's Predictor and Trainer."""

    def __init__(self, job, parts):
        import networks
        import torch
        self.torch, self.job, self.parts = torch, job, parts
        self.contexts = contextlib.ExitStack()
        self.cuda = job.device == "cuda"
        torch.set_num_threads(job.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = job.precision != "fp32"
        torch.backends.cudnn.benchmark = True
        self.network = networks.NETWORKS[job.network]
        self.model = load_model(self.network, job.folder, job.device).to(job.device)
        images, labels = batch_of(job)
        self.host_images = torch.from_numpy(images)
        self.host_labels = torch.from_numpy(labels.astype(np.int64))
        if "bfloat16" in parts:
            self.model, self.host_images = self.model.bfloat16(), self.host_images.bfloat16()
        if "channels_last" in parts:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.host_images = self.host_images.contiguous(memory_format=torch.channels_last)
        if self.cuda:
            self.host_images, self.host_labels = self.host_images.pin_memory(), self.host_labels.pin_memory()
            torch.cuda.reset_peak_memory_stats()
        self.images, self.labels = self.host_images.to(job.device), self.host_labels.to(job.device)
        if job.mode == "inference":
            self.prepare_inference()
        else:
            self.prepare_training()

    def autocast(self):
        if "autocast" in self.parts:
            return self.torch.autocast(self.job.device, self.torch.bfloat16)
        return contextlib.nullcontext()

    def compiled(self, function):
        if not self.parts & {"compile", "max_autotune"}:
            return function
        from torch._inductor import config
        config.freezing = self.job.mode == "inference"
        return self.torch.compile(function, mode="max-autotune" if "max_autotune" in self.parts else None)

    def captured(self, function):
        """A function without arguments as a CUDA graph."""
        torch = self.torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function()

        def replay():
            graph.replay()
            return result

        return replay

    def prepare_inference(self):
        torch = self.torch
        self.model.eval()
        torch.set_grad_enabled(False)
        self.contexts.enter_context(self.autocast())  # once, so that weights are converted once
        if "frozen" in self.parts:
            traced = torch.jit.freeze(torch.jit.trace(self.model, self.images))
            self.model = torch.jit.optimize_for_inference(traced)
        self.model = self.compiled(self.model)
        self.forward = lambda: self.model(self.images)
        if "cuda_graph" in self.parts:
            self.forward = self.captured(self.forward)

    def prepare_training(self):
        torch = self.torch
        torch.set_grad_enabled(True)
        self.model.train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.apply = self.compiled(self.model)
        self.work = self.forward_and_backward
        if "cuda_graph" in self.parts:
            self.graph_step()

    def forward_and_backward(self):
        functional = self.torch.nn.functional
        with self.autocast():
            logits = self.apply(self.images)
            if self.network.classes == 1:
                loss = functional.binary_cross_entropy_with_logits(logits[:, 0].float(), self.labels.float())
            else:
                loss = functional.cross_entropy(logits.float(), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return logits, loss

    def graph_step(self):
        """Captures a whole step, and undoes what the steps for it changed."""
        torch = self.torch
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.work = self.captured(self.forward_and_backward)
        self.model.load_state_dict(before)
        for state in self.optimizer.state.values():
            state["momentum_buffer"].zero_()
        torch.cuda.synchronize()

    def iterate(self):
        if self.cuda:
            self.images.copy_(self.host_images, non_blocking=True)
        if self.job.mode == "inference":
            self.logits = self.forward()
            if self.cuda:
                self.logits = self.logits.cpu()
            return
        if self.cuda:
            self.labels.copy_(self.host_labels, non_blocking=True)
        self.logits, loss = self.work()
        self.loss = loss.item()

    def results(self):
        self.iterate()
        logits = self.logits.detach().float().cpu().permute(0, 2, 3, 1).numpy().copy()
        losses = []
        if self.job.mode == "training":
            losses.append(self.loss)
            self.iterate()
            losses.append(self.loss)
        return logits, losses

    def settle(self):
        """Once the first results are there: what was only needed to come so far (trials of algorithms, captures) is over,
        and does not count."""
        if not self.cuda:
            return
        for _ in range(3):
            self.iterate()
        self.torch.cuda.synchronize()
        self.torch.cuda.empty_cache()
        self.torch.cuda.reset_peak_memory_stats()

    def facts(self):
        if not self.cuda:
            return {}
        return {"held_mb": self.torch.cuda.max_memory_allocated() / 2**20,
                "reserved_mb": self.torch.cuda.max_memory_reserved() / 2**20}

    def close(self):
        """For the next job in this process, and for processes beside it."""
        torch, cuda = self.torch, self.cuda
        self.contexts.close()
        torch.compiler.reset()
        self.__dict__.clear()
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()


class OnnxRuntime:
    def __init__(self, job, parts):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = job.threads
        options.inter_op_num_threads = 1
        model = f"{job.folder}/onnxruntime_{job.batch}.onnx"
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.images, _ = batch_of(job)

    def iterate(self):
        self.logits, = self.session.run(None, {"images": self.images})

    def results(self):
        self.iterate()
        return np.ascontiguousarray(self.logits.transpose(0, 2, 3, 1)), []

    def settle(self):
        pass

    def facts(self):
        return {}

    def close(self):
        self.__dict__.clear()


class OpenVino(OnnxRuntime):
    def __init__(self, job, parts):
        import openvino
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": job.threads,
                 "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[job.precision]}
        model = f"{job.folder}/openvino_{job.batch}.xml"
        self.request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
        self.images, _ = batch_of(job)

    def iterate(self):
        self.logits = self.request.infer([self.images], share_inputs=True, share_outputs=True)[0]


FRAMEWORKS = {"pytorch": PyTorch, "onnxruntime": OnnxRuntime, "openvino": OpenVino}


def start(job):
    """A framework that has given, and saved, its first results."""
    framework, _, parts = job.setting.partition(":")
    worker = FRAMEWORKS[framework](job, set(parts.split("+")))
    logits, losses = worker.results()
    tensors.write(job.results, {"logits": logits.astype(np.float32), "losses": np.array(losses, np.float32)})
    return worker


def peak_rss_mb():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def allocation_counter():
    """Of this process so far, where allocations.cpp was loaded before it."""
    try:
        counter = ctypes.CDLL(None).ulna_allocations
    except AttributeError:
        return lambda: -1
    counter.restype = ctypes.c_long
    return counter


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed
    allocations = allocation_counter()
    while line := sys.stdin.readline():
        worker = start(Job(**json.loads(line)))
        print("ready", file=answers, flush=True)
        worker.settle()
        most = 0
        while (line := sys.stdin.readline()) and line != "end\n":
            before = allocations()
            begin = time.perf_counter()
            worker.iterate()
            milliseconds = 1e3 * (time.perf_counter() - begin)
            most = max(most, allocations() - before) if before >= 0 else -1
            print(milliseconds, file=answers, flush=True)
        facts = {"peak_rss_mb": peak_rss_mb(), "allocations": most, **worker.facts()}
        print(json.dumps(facts), file=answers, flush=True)
        worker.close()


if __name__ == "__main__":
    main()
