#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ulna beside other frameworks: the same networks, weights and images, outputs compared, in one run.

On the CPU all sides of a comparison are processes that live at the same time and take turns, an iteration each; an idle
one does nothing. On a device, whose memory holds one side at a time, they come one after the other. Called by
benchmarks/run.sh.
"""
import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import time

import numpy as np

import machine
import networks
import programs
import report
import speed
import tensors
from processes import Failure, Process, last_error

HERE = os.path.dirname(os.path.abspath(__file__))
SETTINGS = {
    ("cpu", "inference", "fp32"): ["pytorch:eager", "pytorch:channels_last", "pytorch:frozen", "pytorch:channels_last+frozen",
                                   "pytorch:channels_last+compile", "onnxruntime", "openvino"],
    ("cpu", "inference", "bf16"): ["pytorch:autocast", "pytorch:channels_last+autocast", "pytorch:channels_last+bfloat16",
                                   "pytorch:channels_last+bfloat16+frozen", "pytorch:channels_last+bfloat16+compile", "openvino"],
    ("cpu", "training", "fp32"): ["pytorch:eager", "pytorch:channels_last", "pytorch:channels_last+compile"],
    ("cpu", "training", "bf16"): ["pytorch:autocast", "pytorch:channels_last+autocast", "pytorch:channels_last+autocast+compile"],
    ("cuda", "inference", "bf16"): ["pytorch:channels_last+autocast", "pytorch:channels_last+bfloat16",
                                    "pytorch:channels_last+bfloat16+cuda_graph", "pytorch:channels_last+bfloat16+max_autotune"],
    ("cuda", "training", "bf16"): ["pytorch:channels_last+autocast", "pytorch:channels_last+autocast+cuda_graph",
                                   "pytorch:channels_last+autocast+max_autotune"],
}
for precision in ("fp32", "tf32"):
    for mode in ("inference", "training"):
        SETTINGS["cuda", mode, precision] = ["pytorch:eager", "pytorch:channels_last", "pytorch:channels_last+cuda_graph",
                                             "pytorch:channels_last+max_autotune"]
FORMATS = ("onnxruntime", "openvino")  # frameworks that read a model in a format of their own
# How far results may be from PyTorch's in float, relative to the largest.
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
SETTLE_SECONDS = 0.25  # threads of some frameworks spin for a while after their work


@dataclasses.dataclass
class Comparison:
    network: str
    mode: str
    precision: str
    batch: int
    results: dict = dataclasses.field(default_factory=dict)  # by setting
    failures: dict = dataclasses.field(default_factory=dict)  # by setting, in words

    @property
    def program(self):
        return programs.program_name(self.network, self.mode, self.precision)

    def words(self):
        return f"{networks.NETWORKS[self.network].title}, {self.mode}, {self.precision}, batch {self.batch}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def difference(path, reference):
    """Of logits and losses from the reference's, relative to its largest; infinite where they are not numbers."""
    found, expected = tensors.read(path), tensors.read(reference)
    worst = 0.0
    for name in ("logits", "losses"):
        a, b = found[name].ravel(), expected[name].ravel()
        if a.size != b.size:
            raise Failure(f"gave {a.size} {name}, expected {b.size}")
        if b.size:
            d = float(np.abs(a - b).max() / np.abs(b).max())
            worst = max(worst, d if np.isfinite(d) else float("inf"))
    return worst


class Run:
    """All comparisons of one call."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.device = "cuda" if arguments.cuda else "cpu"
        self.deadline = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
        self.threads = arguments.threads or speed.available_threads()
        self.comparisons = [Comparison(network, mode, precision, batch)
                            for network in arguments.network or networks.NETWORKS for mode in arguments.modes
                            for precision in arguments.precision for batch in self.batches(mode)]
        self.data = f"{arguments.build}/data"
        self.torch = None  # the process of all PyTorch's jobs on a device
        self.programs, self.program_facts = None, {}

    def batches(self, mode):
        if self.arguments.batch:
            return self.arguments.batch
        if self.device == "cpu":
            return [1] if mode == "inference" else [2]
        return [1, 16] if mode == "inference" else [16]

    def rounds(self, mode):
        if self.arguments.rounds:
            return self.arguments.rounds
        quick, full = {("cpu", "inference"): (3, 10), ("cpu", "training"): (2, 5),
                       ("cuda", "inference"): (10, 50), ("cuda", "training"): (5, 20)}[self.device, mode]
        return quick if self.arguments.quick else full

    def build(self):
        names = list(dict.fromkeys(c.program for c in self.comparisons))
        if self.device == "cpu":
            self.counter = f"{self.arguments.build}/allocations.so"
            subprocess.run(["g++", "-std=c++20", "-O2", "-shared", "-fPIC", f"{HERE}/allocations.cpp", "-o", self.counter],
                           check=True)
        if self.arguments.programs:
            self.programs = os.path.abspath(self.arguments.programs)
            self.program_facts = {name: {} for name in names}
        elif self.device == "cuda":
            self.programs, self.program_facts = programs.build_for_device(self.arguments.build, names, self.arguments.jobs,
                                                                          self.arguments.architecture)
        else:
            self.programs, self.program_facts = programs.build_for_cpu(self.arguments.build, names, self.arguments.jobs,
                                                                       self.arguments.compile_time)
        for name in names:
            self.program_facts[name]["stripped_bytes"] = programs.stripped_bytes(f"{self.programs}/{name}")

    # ---- one side of a comparison
    def folder(self, comparison):
        return f"{self.data}/{comparison.network}"

    def prepare(self):
        """Makes what every side is given. A peer whose format cannot be made has failed."""
        say("making weights, images, and results to agree with")
        cases = dict.fromkeys(f"{c.network}:{c.mode}:{c.batch}" for c in self.comparisons)
        if words := self.prepared("data", self.device, self.data, *cases):
            raise SystemExit(f"weights, images and results to agree with could not be made: {words}")
        for framework in FORMATS:
            wanting = [c for c in self.comparisons if framework in self.settings(c)]
            for model in dict.fromkeys((c.network, c.batch) for c in wanting):
                say(f"exporting {model[0]} for {framework}")
                if words := self.prepared(framework, self.data, model[0], str(model[1])):
                    for comparison in wanting:
                        if model == (comparison.network, comparison.batch):
                            comparison.failures[framework] = f"its model could not be made: {words}"

    def prepared(self, *words):
        """What went wrong; empty: nothing."""
        child = subprocess.run([sys.executable, f"{HERE}/prepare.py", *words], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
        return (last_error(child.stderr) or f"status {child.returncode}") if child.returncode else ""

    def settings(self, comparison):
        """Those still to be measured."""
        return [s for s in SETTINGS[self.device, comparison.mode, comparison.precision]
                if s.partition(":")[0] in self.arguments.peers and s not in comparison.failures]

    def results_path(self, comparison, setting):
        return f"{self.folder(comparison)}/results_{setting.replace(':', '_')}_{comparison.program}_{comparison.batch}.safetensors"

    def log_path(self, comparison, setting):
        return self.results_path(comparison, setting).removesuffix("safetensors") + "log"

    def seconds_left(self):
        return min(1800.0, self.deadline - time.monotonic())

    def environment(self):
        threads = str(self.threads)
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
                       "TORCHINDUCTOR_CACHE_DIR": f"{self.arguments.build}/inductor"}
        return environment if self.device == "cuda" else {**environment, "LD_PRELOAD": self.counter}

    def start(self, comparison, setting):
        """A process with its first result, and what is known of it so far."""
        path, log = self.results_path(comparison, setting), self.log_path(comparison, setting)
        if os.path.exists(path):
            os.remove(path)
        job = None
        if setting == "ulna":
            process = Process([f"{self.programs}/{comparison.program}", f"{self.folder(comparison)}/weights.safetensors",
                               f"{self.folder(comparison)}/batch_{comparison.batch}.safetensors", path,
                               "0" if self.device == "cuda" else str(self.threads)], self.environment(), log)
        else:
            job = json.dumps(dataclasses.asdict(speed.Job(
                setting=setting, network=comparison.network, mode=comparison.mode, precision=comparison.precision,
                batch=comparison.batch, folder=self.folder(comparison), results=path, threads=self.threads, device=self.device)))
            process = self.torch or Process([sys.executable, f"{HERE}/speed.py"], self.environment(), log)
            if self.device == "cuda":
                self.torch = process
        try:
            start = process.wait_until_ready(self.seconds_left(), job)
            reference = f"{self.folder(comparison)}/{comparison.mode}_{comparison.batch}.safetensors"
            return process, {"times": [], "others": [], "start_ms": start, "difference": difference(path, reference)}
        except Failure:
            self.end(process)
            raise

    def end(self, process):
        process.kill()
        if process is self.torch:
            self.torch = None

    def attempt(self, comparison, setting, action):
        """What the action returns, or None with the failure noted."""
        try:
            return action()
        except Failure as failure:
            comparison.failures[setting] = str(failure)
            say(f"  {setting}: {failure}")
            return None

    def iterate(self, process, result):
        milliseconds, others = process.iterate(self.seconds_left())
        result["times"].append(milliseconds)
        result["others"].append(others)

    def finish(self, comparison, setting, process, result):
        facts = process.facts(job_ends=process is self.torch)
        facts["memory_mb"] = facts["held_mb" if self.device == "cuda" else "peak_rss_mb"]
        comparison.results[setting] = {**result, **facts}

    # ---- comparisons
    def compare_in_turns(self, comparison):
        """An iteration each, again and again."""
        sides = {}
        try:
            for setting in ["ulna", *self.settings(comparison)]:
                say(f"  {setting}")
                if side := self.attempt(comparison, setting, lambda: self.start(comparison, setting)):
                    sides[setting] = side
            for _ in range(self.rounds(comparison.mode)):
                for setting, (process, result) in list(sides.items()):
                    time.sleep(SETTLE_SECONDS)
                    self.attempt(comparison, setting, lambda: self.iterate(process, result))
                    if setting in comparison.failures:
                        del sides[setting]
            for setting, (process, result) in sides.items():
                self.attempt(comparison, setting, lambda: self.finish(comparison, setting, process, result))
        finally:
            for process, _ in sides.values():
                process.kill()

    def measure_alone(self, comparison, setting):
        """All iterations of one side."""
        process, result = self.start(comparison, setting)
        try:
            for _ in range(self.rounds(comparison.mode)):
                self.iterate(process, result)
            self.finish(comparison, setting, process, result)
        except Failure:
            self.end(process)
            raise

    def compare_one_by_one(self):
        """Those that need minutes to compile come last, for as long as there is time."""
        for slow in (False, True):
            for comparison in self.comparisons:
                for setting in ["ulna", *self.settings(comparison)]:
                    if slow != ("max_autotune" in setting):
                        continue
                    if self.seconds_left() < 5:
                        comparison.failures[setting] = f"not run: the {self.arguments.minutes:g} minutes were over"
                        continue
                    say(f"{comparison.words()}: {setting}")
                    self.attempt(comparison, setting, lambda: self.measure_alone(comparison, setting))
                self.save()

    def execute(self):
        self.build()
        if self.arguments.build_only:
            return print(f"built in {self.programs}\n", *report.program_table(self.record()), sep="\n")
        self.prepare()
        if self.device == "cuda":
            try:
                self.compare_one_by_one()
            finally:
                if self.torch:
                    self.torch.kill()
        else:
            for comparison in self.comparisons:
                say(comparison.words())
                self.compare_in_turns(comparison)
                self.save()
        self.save()
        print(report.markdown(self.record()))
        if problems := report.problems(self.record()):
            raise SystemExit("\n".join(problems))

    # ---- what is written
    def record(self):
        return {
            "command": "benchmarks/run.sh " + " ".join(self.arguments.command), "time": self.began,
            "ulna": machine.words_of(["git", "-C", programs.ROOT, "describe", "--always", "--dirty"]),
            "processor": machine.processor_name(), "threads": self.threads, "device": machine.device_name() if self.device == "cuda" else None,
            "compiler": machine.words_of([programs.compiler_of_devices() or "nvcc", "--version"] if self.device == "cuda"
                                 else [os.environ.get("CXX", "g++"), "--version"]),
            "python": sys.version.split()[0], "versions": machine.versions(), "tolerance": TOLERANCE, "programs": self.program_facts,
            "comparisons": [{**dataclasses.asdict(c), "words": c.words(), "program": c.program, **report.ratios(c.results)}
                            for c in self.comparisons],
        }

    began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")

    def save(self):
        if path := self.arguments.json:
            with open(path + ".part", "w") as file:
                json.dump(self.record(), file, indent=1)
            os.replace(path + ".part", path)


def require_device(arguments):
    """Ends with all that is missing."""
    missing = []
    if not arguments.build_only:
        if not machine.device_name():
            missing.append("an NVIDIA device (nvidia-smi finds none)")
        child = subprocess.run([sys.executable, "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"], capture_output=True)
        if child.returncode:
            missing.append(f"a PyTorch that can use it ({sys.executable} has none; PYTHON names another)")
    if not arguments.programs and not programs.compiler_of_devices():
        missing.append("nvcc, of the CUDA Toolkit (or --programs DIR, compiled elsewhere)")
    if missing:
        raise SystemExit("--cuda needs what this machine has not: " + "; ".join(missing))
    if not arguments.architecture:
        capability = machine.words_of(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]).replace(".", "")
        arguments.architecture = {"90": "90a"}.get(capability, capability or "90a")


def parse(command):
    parser = argparse.ArgumentParser(prog="benchmarks/run.sh", description=__doc__)
    parser.add_argument("--network", action="append", choices=networks.NETWORKS, help="which (default: all)")
    parser.add_argument("--peers", default="pytorch,onnxruntime,openvino", help="which, by commas (default: %(default)s)")
    parser.add_argument("--inference", action="store_true", help="not training")
    parser.add_argument("--training", action="store_true", help="not inference")
    parser.add_argument("--precision", help="which, by commas (default: fp32,bf16; on a device tf32,bf16)")
    parser.add_argument("--batch", type=int, action="append", help="default: inference 1, training 2; on a device 1 and 16, 16")
    parser.add_argument("--quick", action="store_true", help="fewer iterations")
    parser.add_argument("--rounds", type=int, help="so many iterations of each side")
    parser.add_argument("--threads", type=int, help="of every side (default: all)")
    parser.add_argument("--json", help="a file for every figure, versions and the command")
    parser.add_argument("--compile-time", action="store_true", help="time the compiler, too (without its cache)")
    parser.add_argument("--cuda", action="store_true", help="on a device, against the PyTorch that is installed")
    parser.add_argument("--minutes", type=float, help="what is not done by then is left out, and listed (with --cuda: 8)")
    parser.add_argument("--architecture", help="compile for it (default: the device's, or 90a)")
    parser.add_argument("--build-only", action="store_true", help="compile the programs and stop")
    parser.add_argument("--programs", help="a folder of programs that were compiled before")
    arguments = parser.parse_args(command)
    arguments.command = command
    arguments.build = os.environ["BUILD_DIR"]
    arguments.jobs = int(os.environ.get("JOBS", "1"))
    arguments.modes = [m for m in ("inference", "training") if getattr(arguments, m)] or ["inference", "training"]
    arguments.peers = arguments.peers.split(",")
    if unknown := set(arguments.peers) - set(speed.FRAMEWORKS):
        parser.error(f"--peers: there is no {', '.join(sorted(unknown))}; there are {', '.join(speed.FRAMEWORKS)}")
    arguments.precision = (arguments.precision or ("tf32,bf16" if arguments.cuda else "fp32,bf16")).split(",")
    offered = ["fp32", "tf32", "bf16"] if arguments.cuda else ["fp32", "bf16"]
    if unknown := set(arguments.precision) - set(offered):
        parser.error(f"--precision: there is no {', '.join(sorted(unknown))} here; there are {', '.join(offered)}")
    if arguments.cuda and arguments.minutes is None:
        arguments.minutes = 8.0
    return arguments


def main():
    arguments = parse(sys.argv[1:])
    if arguments.cuda:
        require_device(arguments)
    os.makedirs(arguments.build, exist_ok=True)
    Run(arguments).execute()


if __name__ == "__main__":
    main()
