#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Of benchmarks/run.sh --cuda what needs no device: the order and the clock, memory, rooflines, the report."""
import unittest

import on_device
import report


class Time:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class OrderAndClock(unittest.TestCase):
    def test_order(self):
        settings = {"unet": ["pytorch:eager", "pytorch:cuda_graph", "pytorch:max_autotune"], "trans_unet": ["pytorch:cuda_graph"]}
        self.assertEqual(on_device.in_order(settings, lambda network: settings[network]),
                         [("unet", "ulna"), ("trans_unet", "ulna"), ("unet", "pytorch:cuda_graph"),
                          ("trans_unet", "pytorch:cuda_graph"), ("unet", "pytorch:max_autotune"), ("unet", "pytorch:eager")])

    def test_what_does_not_fit_is_left_out_in_words(self):
        time = Time()
        clock = on_device.Clock(8, time)
        self.assertEqual(clock.begin("ulna"), "")
        time.seconds += 40
        clock.done("ulna")
        self.assertEqual(clock.begin("ulna"), "")
        time.seconds += 20
        clock.done("ulna")  # 30 seconds each
        time.seconds = 451
        self.assertEqual(clock.begin("ulna"), "left out: of 8 minutes 29 seconds were left for such settings, which take about 30")
        self.assertEqual(clock.begin("pytorch:eager"), "")  # these may be quicker
        time.seconds = 481
        self.assertIn("left out: of 8 minutes 0 seconds were left", clock.begin("pytorch:eager"))

    def test_compiling_for_minutes_gets_half_of_what_is_left(self):
        time = Time()
        clock = on_device.Clock(8, time)
        time.seconds = 280
        self.assertEqual(clock.begin("pytorch:max_autotune"), "")
        self.assertEqual(clock.limit("pytorch:max_autotune"), 100)
        time.seconds = 330
        clock.done("pytorch:max_autotune")  # it took 50 seconds, as many are left
        self.assertEqual(clock.begin("pytorch:max_autotune"), "")
        time.seconds = 331
        self.assertIn("49 seconds were left for such settings, which take about 50", clock.begin("pytorch:max_autotune"))
        self.assertEqual(clock.limit("pytorch:eager"), 90)
        time.seconds = 440
        self.assertEqual(clock.limit("pytorch:eager"), 40)

    def test_without_minutes_everything_fits(self):
        self.assertEqual(on_device.Clock(None).begin("pytorch:max_autotune"), "")


class DeviceMemory(unittest.TestCase):
    def test_a_process_and_one_that_serves_several_jobs(self):
        used = 4.0
        memory = on_device.Memory(lambda: used)
        memory.begin(False)
        used = 704.0
        self.assertEqual(memory.taken(), 700)
        used = 4.0  # it ended; the next one stays for two jobs
        memory.begin(False)
        used = 3004.0
        self.assertEqual(memory.taken(), 3000)
        used = 1004.0  # its context is 1000
        memory.begin(True)
        used = 2004.0
        self.assertEqual(memory.taken(), 2000)
        used = 1204.0  # it keeps something of the second job: that is not counted again
        memory.begin(True)
        used = 2004.0
        self.assertEqual(memory.taken(), 1800)

    def test_where_it_cannot_be_told(self):
        memory = on_device.Memory(lambda: None)
        memory.begin(False)
        self.assertIsNone(memory.taken())


def node(path, op, channels, macs, megabytes, microseconds):
    return {"path": path, "op": op, "shape": "1 x 1 x 1", "channels": channels, "macs": macs, "bytes": megabytes * 10**6,
            "seconds": microseconds * 1e-6}


PROFILE = {"batch": 1, "seconds": 400e-6, "flops": 5e14, "bytes_per_second": 1e12,
           "nodes": [node("net/first", "convolution 3x3", 3, 10**9, 100, 200), node("net/wide", "convolution 3x3", 128, 10**10, 1, 50),
                     node("net/slow", "transposed_convolution 2x2", 256, 10**10, 1, 100), node("net/join", "concat", 0, 0, 0, 50)]}


def record(**more):
    result = {"times": [2.0, 1.0, 3.0], "others": [None], "start_ms": 10.0, "difference": 1e-4, "memory_mb": 60.0, "process_mb": 600.0,
              "allocations": -1, "macs": 10**9}
    peer = {**result, "times": [5.0], "memory_mb": 120.0, "process_mb": 800.0}
    results = {"ulna": result, "pytorch:eager": peer, "pytorch:cuda_graph": {**peer, "times": [4.0], "process_mb": None}}
    comparison = {"words": "net, inference, bf16, batch 1", "precision": "bf16", "results": results, "profile": PROFILE,
                  "failures": {"pytorch:autocast": "no engine", "pytorch:max_autotune": "left out: too late"}, **report.ratios(results)}
    return {"command": "", "time": "", "ulna": "", "processor": "", "threads": 1, "device": "a device", "compiler": "", "python": "",
            "versions": {}, "tolerance": {"bf16": 5e-2}, "programs": {"net": {"failed": "could not be compiled"}},
            "comparisons": [comparison], **more}


class Rooflines(unittest.TestCase):
    def test_wide_products(self):
        wide = on_device.wide_products(PROFILE, (1e15, 1e12))
        self.assertEqual(wide["nodes"], 2)
        self.assertAlmostEqual(wide["share"], 150 / 400)
        self.assertAlmostEqual(wide["fraction"], 4e10 / 150e-6 / 1e15)
        self.assertAlmostEqual(wide["least"], 2e10 / 100e-6 / 1e15)
        self.assertEqual(wide["least_path"], "net/slow, transposed_convolution 2x2")
        self.assertIsNone(on_device.wide_products({**PROFILE, "nodes": PROFILE["nodes"][:1]}, (1e15, 1e12)))

    def test_rates_are_pytorchs_or_ulnas_own(self):
        c = record()["comparisons"][0]
        self.assertEqual(on_device.rates_of({"rates": {"bf16": 7e14, "bytes_per_second": 2e12}}, c), (7e14, 2e12))
        self.assertEqual(on_device.rates_of({"rates": {}}, c), (5e14, 1e12))
        self.assertEqual(on_device.roofline(PROFILE["nodes"][0], (1e15, 1e12)), 100e-6)
        self.assertEqual(on_device.roofline(PROFILE["nodes"][1], (1e15, 1e12)), 20e-6)


class Report(unittest.TestCase):
    def test_a_whole_one(self):
        text = report.markdown(record(rates={"bf16": 1e15, "tf32": 5e14, "fp32": 5e13, "bytes_per_second": 1e12},
                                      seconds={"building": 60.2}))
        for line in ["| net, inference, bf16, batch 1 | **2.00** | 2 (1 to 3) | pytorch:cuda_graph | 4 (4 to 4) | 0.50 | 0.75 | 27 % (20 % at least) |",
                     "| ulna | 2 (1 to 3) | 1000 | 60 | 600 | 10 | – | 1.0e-04 | – |",
                     "| pytorch:autocast | failed: no engine |  |  |  |  |  |  |  |",
                     "| pytorch:max_autotune | left out: too late |  |  |  |  |  |  |  |",
                     "| net/first | convolution 3x3 | 1 x 1 x 1 | 1.00 | 100.0 | 200.0 | 50 % | 50 % |  |",
                     "| net/slow | transposed_convolution 2x2 | 1 x 1 x 1 | 10.00 | 1.0 | 100.0 | 25 % | 20 % | 20 % |",
                     "| all |  |  | 21.00 | 102.0 | 400.0 | 100 % | 35 % |  |",
                     "| net | – | could not be compiled |", "Seconds of the run: building 60."]:
            self.assertIn(line, text)
        for heading in (line for line in text.splitlines() if line.startswith("|---")):
            self.assertIn(heading.count("|"), {4, 9, 10})

    def test_many_nodes_are_summed_up(self):
        c = record()["comparisons"][0]
        profile = {**PROFILE, "nodes": [node(f"net/{i}", "relu", 0, 0, 1, 10) for i in range(40)]}
        lines = report.nodes({}, {**c, "profile": profile})
        self.assertEqual(sum(line.startswith("| net/") for line in lines), 24)
        self.assertIn("| 16 others |  |  |  | 16.0 | 160.0 | 40 % | 10 % |  |", lines)

    def test_on_the_cpu_nothing_of_devices(self):
        found = record(device=None)
        for c in found["comparisons"]:
            del c["profile"]
        text = report.markdown(found)
        self.assertIn("| ulna | 2 (1 to 3) | 1000 | 60 | 10 | – | 1.0e-04 | – |", text)
        self.assertIn("| setting | ms, median (min to max) | GFLOP/s | MB, peak RSS | ms to the first result |", text)


if __name__ == "__main__":
    unittest.main()
