#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ulna beside other frameworks: the same networks, weights and images, outputs compared, in one run.

On the CPU all sides of a comparison are processes that live at the same time and take turns, an iteration each; an idle
one does nothing. On a device, whose memory holds one side at a time, they come one after the other. Called by
benchmarks/run.sh.
"""
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import machine
import networks
import on_device
import options
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
    ("cuda", "inference", "bf16"): ["pytorch:bfloat16", "pytorch:channels_last+autocast", "pytorch:channels_last+bfloat16",
                                    "pytorch:channels_last+bfloat16+cuda_graph", "pytorch:channels_last+bfloat16+max_autotune"],
    ("cuda", "training", "bf16"): ["pytorch:autocast", "pytorch:channels_last+autocast",
                                   "pytorch:channels_last+autocast+cuda_graph", "pytorch:channels_last+autocast+max_autotune"],
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
    profile: dict = None  # of Ulna's nodes, on a device

    @property
    def case(self):
        return f"{self.network}:{self.mode}:{self.batch}"

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
        self.clock = on_device.Clock(arguments.minutes)
        self.threads = arguments.threads or speed.available_threads()
        self.comparisons = [Comparison(network, mode, precision, batch)
                            for network in arguments.network or networks.NETWORKS for mode in arguments.modes
                            for precision in arguments.precision for batch in self.batches(mode)]
        self.data = f"{arguments.build}/data"
        self.torch = None  # the process of all PyTorch's jobs on a device
        self.memory = on_device.Memory(on_device.used_megabytes) if arguments.cuda else None
        self.rates, self.seconds = {}, {}
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
        cases = dict.fromkeys(c.case for c in self.comparisons)
        words, failed = self.prepared("data", self.device, self.data, *cases)
        if words:
            raise SystemExit(f"weights, images and results to agree with could not be made: {words}")
        for case, words in (line.split(" ", 1) for line in failed):
            for comparison in self.comparisons:
                if comparison.case == case:
                    for setting in ["ulna", *self.settings(comparison)]:
                        comparison.failures[setting] = f"there are no results to agree with: {words}"
        for framework in FORMATS:
            wanting = [c for c in self.comparisons if framework in self.settings(c)]
            for model in dict.fromkeys((c.network, c.batch) for c in wanting):
                say(f"exporting {model[0]} for {framework}")
                if words := self.prepared(framework, self.data, model[0], str(model[1]))[0]:
                    for comparison in wanting:
                        if model == (comparison.network, comparison.batch):
                            comparison.failures[framework] = f"its model could not be made: {words}"

        if self.device == "cpu":
            for comparison in self.comparisons:
                subprocess.run([f"{self.programs}/{comparison.program}", "convert", f"{self.folder(comparison)}/weights.safetensors",
                                self.model_path(comparison)], check=True)

    def model_path(self, comparison):
        """What Ulna's program reads: on the CPU in the form that it wants, as other frameworks have theirs."""
        return f"{self.folder(comparison)}/{comparison.program if self.device == 'cpu' else 'weights'}.safetensors"

    def prepared(self, *words):
        """What went wrong, empty: nothing; and the lines that it said of cases."""
        seconds = self.seconds_left() if self.device == "cuda" else None
        try:
            child = subprocess.run([sys.executable, f"{HERE}/prepare.py", *words], capture_output=True, text=True,
                                   timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"not done after {seconds:.0f} s", []
        lines = [line for line in child.stdout.splitlines() if line.partition(" ")[0].count(":") == 2]
        return (last_error(child.stderr) or f"status {child.returncode}") if child.returncode else "", lines

    def settings(self, comparison):
        """Those still to be measured."""
        return [s for s in SETTINGS[self.device, comparison.mode, comparison.precision]
                if {s, s.partition(":")[0]} & set(self.arguments.peers) and s not in comparison.failures]

    def results_path(self, comparison, setting):
        return f"{self.folder(comparison)}/results_{setting.replace(':', '_')}_{comparison.program}_{comparison.batch}.safetensors"

    def log_path(self, comparison, setting):
        return self.results_path(comparison, setting).removesuffix("safetensors") + "log"

    def seconds_left(self):
        return min(1800.0, self.clock.left())

    def answer_seconds(self, setting):
        return self.clock.limit(setting) if self.device == "cuda" else self.seconds_left()

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
            if self.memory:
                self.memory.begin(False)
            process = Process([f"{self.programs}/{comparison.program}", self.model_path(comparison),
                               f"{self.folder(comparison)}/batch_{comparison.batch}.safetensors", path,
                               "0" if self.device == "cuda" else str(self.threads)], self.environment(), log)
        else:
            job = json.dumps(dataclasses.asdict(speed.Job(
                setting=setting, network=comparison.network, mode=comparison.mode, precision=comparison.precision,
                batch=comparison.batch, folder=self.folder(comparison), results=path, threads=self.threads, device=self.device)))
            if self.memory:
                self.memory.begin(self.torch is not None)
            process = self.torch or Process([sys.executable, f"{HERE}/speed.py"], self.environment(), log)
            if self.device == "cuda":
                self.torch = process
        try:
            start = process.wait_until_ready(self.answer_seconds(setting), job)
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
        """All iterations of one side; then the time of Ulna's nodes."""
        process, result = self.start(comparison, setting)
        try:
            for _ in range(self.rounds(comparison.mode)):
                self.iterate(process, result)
            result["process_mb"] = self.memory.taken()
            if setting == "ulna":
                profile = process.ask("profile", self.answer_seconds(setting))
                if "error" in profile:
                    comparison.failures["profile"] = profile["error"]
                else:
                    comparison.profile = profile
            self.finish(comparison, setting, process, result)
        except Failure:
            self.end(process)
            raise

    def compare_one_by_one(self):
        """In the order of on_device.py, for as long as there is time."""
        for comparison, setting in on_device.in_order(self.comparisons, self.settings):
            if setting in comparison.failures:
                continue
            if setting == "ulna" and (words := self.program_facts[comparison.program].get("failed")):
                comparison.failures[setting] = words
            elif words := self.clock.begin(setting):
                comparison.failures[setting] = words
            else:
                say(f"{comparison.words()}: {setting}, {self.clock.left():.0f} s left")
                self.attempt(comparison, setting, lambda: self.measure_alone(comparison, setting))
                self.clock.done(setting)
                self.save()

    def measure_device(self):
        """What its products and copies do at most."""
        try:
            child = subprocess.run([sys.executable, f"{HERE}/rates.py"], capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return say("PyTorch did not measure the device within a minute")
        if child.returncode:
            return say(f"PyTorch could not measure the device: {last_error(child.stderr)}")
        self.rates = json.loads(child.stdout)

    def timed(self, what, action):
        begin = time.monotonic()
        action()
        self.seconds[what] = round(time.monotonic() - begin, 1)

    def compare_on_device(self):
        with ThreadPoolExecutor(1) as pool:  # the compiler needs no device
            preparing = pool.submit(self.timed, "preparing", self.prepare)
            self.timed("building", self.build)
            preparing.result()
        self.timed("the device's rates", self.measure_device)
        try:
            self.timed("comparing", self.compare_one_by_one)
        finally:
            if self.torch:
                self.torch.kill()

    def execute(self):
        if self.arguments.build_only:
            self.build()
            return print(f"built in {self.programs}\n", *report.program_table(self.record()), sep="\n")
        if self.device == "cuda":
            self.compare_on_device()
        else:
            self.build()
            self.prepare()
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
        record = {
            "command": "benchmarks/run.sh " + " ".join(self.arguments.command), "time": self.began,
            "ulna": machine.words_of(["git", "-C", programs.ROOT, "describe", "--always", "--dirty"]),
            "processor": machine.processor_name(), "threads": self.threads, "device": machine.device_name() if self.device == "cuda" else None,
            "compiler": machine.words_of([programs.compiler_of_devices() or "nvcc", "--version"] if self.device == "cuda"
                                 else [os.environ.get("CXX", "g++"), "--version"]),
            "python": sys.version.split()[0], "versions": machine.versions(), "tolerance": TOLERANCE, "programs": self.program_facts,
            "comparisons": [{**dataclasses.asdict(c), "words": c.words(), "program": c.program, **report.ratios(c.results)}
                            for c in self.comparisons],
        }
        if self.device == "cuda":
            return {**record, "rates": self.rates, "seconds": self.seconds}
        for comparison in record["comparisons"]:
            del comparison["profile"]
        return record

    began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")

    def save(self):
        if path := self.arguments.json:
            text = json.dumps(self.record(), indent=1)
            if self.device == "cuda":  # not a line for each number of thousands of nodes
                text = re.sub(r"\n {6,}", " ", text)
            with open(path + ".part", "w") as file:
                file.write(text)
            os.replace(path + ".part", path)


def main():
    arguments = options.parse(sys.argv[1:], __doc__)
    if arguments.cuda:
        options.require_device(arguments)
    os.makedirs(arguments.build, exist_ok=True)
    Run(arguments).execute()


if __name__ == "__main__":
    main()
