"""S11: how long after its start a replay of a window sends the first request, by size of the log."""

import datetime
import os
import shutil
import time

from parts import Row, Spread, alternate, ratio, spread
from parts.arrivals import Arrivals
from parts.logs import make_log, replayed, settled

TITLE = "time from start of the process to the first request received, window at 90 % of a log of 10 MB and of 5 GB"
GOAL = "< 1 s, the same for both"
LEAST = "the same"

SIZE = 16 << 10
SMALL, LARGE = 10 << 20, 5 << 30
LIMIT = 20


def run(bench):
    receiver = Arrivals(bench)
    kafka = bench.kafka()
    large = LARGE
    if bench.quick:
        large = 200 << 20
    elif shutil.disk_usage(bench.tmp).free < 3 * LARGE:
        large = 2 << 30
        bench.say("too little disk for 5 GB twice: 2 GB")
    logs = {}
    for name, size in (("small", SMALL), ("large", large)):
        for kind, log in (("file", bench.tmp / f"log-{name}"), ("kafka", kafka.topic())):
            logs[kind, name] = log, make_log(bench, log, requests=size // SIZE, size=SIZE, rate=1000)

    def side(kind, name, *pace):
        log, made = logs[kind, name]
        # In the middle between two requests, so that it is known which is the first.
        at = made["requests"] * 9 // 10
        start = made["first_ns"] + at * 1_000_000 - 500_000
        begin = datetime.datetime.fromtimestamp(start // 1_000_000_000, datetime.timezone.utc)
        text = f"{begin:%Y-%m-%dT%H:%M:%S}.{start % 1_000_000_000:09d}Z"

        def one(_):
            receiver.take()
            started = time.time_ns()
            result, cost = replayed(bench, "--log", log, "--target", receiver.url, "--from", text,
                                    "--limit", LIMIT, *pace)
            settled(result, LIMIT)
            arrivals = receiver.take()
            first = min(number for _, number in arrivals)
            if first != at:
                raise RuntimeError(f"the first request of the window is {at}, {first} was sent")
            return {"first_ms": (arrivals[0][0] - started) / 1e6, "cpu_s": cost["cpu_s"], "wall_s": cost["wall_s"]}
        return one

    found = []
    for pace, words in (("--speed 1", ("--speed", 1)), ("--rate max", ("--rate", "max"))):
        sides = {f"{kind} {name}": side(kind, name, *words) for kind, name in logs}
        samples = alternate(bench, sides, rounds=min(bench.rounds, 3))
        goal = {"goal": 1000.0}
        for kind, log in (("file", "embedded log"), ("kafka", "Kafka")):
            for name, size in (("small", "10 MB"), ("large", f"{large / 1e9:.1f} GB")):
                found.append(Row(f"{pace}, {log} of {size}: first request after", spread(samples, f"{kind} {name}", "first_ms"),
                                 unit="ms", samples=samples if kind == "file" and name == "small" else None, **goal))
            found.append(Row(f"{pace}, {log}: large / small", ratio(samples, f"{kind} large", f"{kind} small", "first_ms"),
                             goal=1.2))
    found.append(cold(bench, logs["file", "large"][0], side("file", "large", "--rate", "max"), large))
    return found


def cold(bench, log, one, size):
    """The large embedded log after the kernel was told to forget its pages."""
    samples = []
    for _ in range(1 if bench.quick else 3):
        for path in sorted(log.rglob("*")):
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        samples.append(one(0))
    return Row(f"--rate max, embedded log of {size / 1e9:.1f} GB, not in memory", Spread([s["first_ms"] for s in samples]),
               unit="ms", goal=1000.0, samples=samples)
