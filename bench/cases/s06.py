"""S6: the embedded log, beside what the same compression and one file cost without a log."""

import json
import shutil

from parts import Row, Spread
from parts.logs import example

TITLE = "embedded log: append, tail latency, read-all"
GOAL = ">= 300k records/s, tail p50 <= 5 ms; >= 1M/s"
LEAST = "the same"


def run(bench):
    records, seconds = (200_000, 2) if bench.quick else (600_000, 2)
    lines, rounds = [], min(bench.rounds, 3)
    for number in range(rounds + 1):
        directory = bench.tmp / f"log-{number}"
        out = bench.run([example(bench, "bench_file"), directory, records, seconds])
        shutil.rmtree(directory)
        found = [json.loads(line) for line in out.splitlines()]
        if number > 0:  # The first warms up.
            lines.append(found)
            bench.say(f"round {number}/{rounds}: " + "  ".join(
                f"{key} {line[key]}" for line in found for key in ("append_per_s", "read_per_s", "p50_ms") if key in line))

    def values(key, **where):
        return [line[key] for found in lines for line in found
                if key in line and all(line[name] == value for name, value in where.items())]

    appended, bare = values("append_per_s"), values("bare_append_per_s")
    # Each is read twice without a group: the second is taken, as both then read what is in memory.
    read, bare_read = values("read_per_s", group=False)[1::2], values("bare_read_per_s")
    rows = [
        Row("append of 1 KB records", appended, goal=300_000, more=True, unit="records/s", samples=lines),
        Row("append / zstd -1 and write, no log", [a / b for a, b in zip(appended, bare)], more=True),
        Row("read-all", read, goal=1_000_000, more=True, unit="records/s"),
        Row("read-all / read and unpack, no log", [a / b for a, b in zip(read, bare_read)], more=True),
        Row("read-all with a group", values("read_per_s", group=True), more=True, unit="records/s"),
        Row("first record of a time in the middle", values("first_of_a_time_ms"), unit="ms"),
    ]
    for rate in (100, 5_000, 50_000):
        goal = {"goal": 5.0} if rate == 5_000 else {}
        rows.append(Row(f"tail at {rate}/s, p50", Spread(values("p50_ms", tail_rate=rate)), unit="ms", **goal))
        rows.append(Row(f"tail at {rate}/s, p99", Spread(values("p99_ms", tail_rate=rate)), unit="ms"))
    return rows
