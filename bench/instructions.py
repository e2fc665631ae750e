#!/usr/bin/env python3
"""Counts the instructions of what every request goes through (encode, decode, select, pace,
compare), by valgrind, and compares them with bench/instructions.json: a step that has become
slower shows, however busy the machine is.

    bench/instructions.py            compares; exit code 1 if a step takes more than 5 % more
    UMBRA_REGENERATE=1 bench/instructions.py     keeps what it counts

It runs the tests of crates/replay/src/instructions.rs as they are built anyway (with little
optimisation: good for finding a change, not for telling what a step costs). Counts depend on
the compiler and on what the processor can do; others than those they were made with are told
and not compared."""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench/instructions.json"
TOLERANCE = 0.05
STEPS = {"encode": "encodes", "decode": "decodes", "select": "selects", "pace": "paces", "compare": "compares"}


def binary():
    command = ["cargo", "test", "--workspace", "--lib", "--no-run", "--locked", "--message-format=json"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "umbra_replay":
            return message["executable"]
    sys.exit("cargo named no tests of umbra-replay")


def count(program, step, test):
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--toggle-collect=umbra_replay::instructions::count_{step}*",
             f"--callgrind-out-file={directory}/out", program, "--exact", f"instructions::{test}",
             "--test-threads=1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    collected = re.search(r"Collected : (\d+)", done.stdout)
    if done.returncode != 0 or not collected or int(collected[1]) == 0 or "1 passed" not in done.stdout:
        sys.exit(f"{step} could not be counted:\n{done.stdout}")
    return int(collected[1])


def made_with():
    compiler = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    valgrind = subprocess.run(["valgrind", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"compiler": compiler.strip(), "valgrind": valgrind.strip(), "machine": platform.machine(),
            "avx2": "avx2" in flags}


def main():
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not there")
    now = {"made_with": made_with(), "tolerance": TOLERANCE, "instructions": {}}
    program = binary()
    for step, test in STEPS.items():
        now["instructions"][step] = count(program, step, test)
    if os.environ.get("UMBRA_REGENERATE"):
        KEPT.write_text(json.dumps(now, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    comparable = kept["made_with"] == now["made_with"]
    failed = False
    for step, n in now["instructions"].items():
        before = kept["instructions"].get(step)
        change = n / before - 1 if before else 0.0
        print(f"{step:<8} {n:>12,} instructions {change:+8.1%}")
        if comparable and change > kept["tolerance"]:
            failed = True
        elif comparable and change < -kept["tolerance"]:
            print(f"         {step} takes less than was kept: UMBRA_REGENERATE=1 keeps that")
    if not comparable:
        print(f"not compared: kept with {kept['made_with']}, now {now['made_with']}")
    if failed:
        sys.exit("more instructions than in bench/instructions.json: find out why, or keep them with UMBRA_REGENERATE=1")


if __name__ == "__main__":
    main()
