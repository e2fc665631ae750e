"""S12, the replayer's part: what a request costs by number of partitions and of replicas."""

import json
import resource
import time

from parts import Row, alternate, ratio, spread
from parts.bench import Failed
from parts.logs import make_log, replayed, settled

PARTITIONS = (1, 4, 16, 64)
REPLICAS = (1, 2, 4)
CONNECTIONS = 64


def run(bench):
    target = bench.upstream(size=2, name="target")
    kafka = bench.kafka()
    return partitions(bench, target, kafka) + replicas(bench, target, kafka)


def partitions(bench, target, kafka):
    count = 20_000 if bench.quick else 50_000
    sides = {}
    for number in PARTITIONS:
        log = kafka.topic()
        made = make_log(bench, log, requests=count, size=1024, connections=256, partitions=number)
        if made["partitions"] != number:
            raise Failed(f"the topic has {made['partitions']} partitions, not {number}")

        def side(_, log=log, size=made["bytes"]):
            before = written(kafka.part.pid)
            result, cost = replayed(bench, "--log", log, "--target", target.url, "--rate", "max",
                                    "--concurrency", CONNECTIONS)
            settled(result, count)
            return {"us": cost["cpu_s"] / count * 1e6, "per_second": count / result["duration_s"],
                    "peak_mb": cost["peak_bytes"] / 1e6,
                    "fetched": (written(kafka.part.pid) - before) / size}
        sides[f"{number} partitions"] = side
    samples = alternate(bench, sides, rounds=min(bench.rounds, 3))
    first, last = f"{PARTITIONS[0]} partitions", f"{PARTITIONS[-1]} partitions"
    rows = [Row(f"replay, CPU per request: {last} / {first}", ratio(samples, last, first, "us"), goal=1.1, least=1.25,
                samples=samples)]
    rows += [Row(f"replay, CPU per request, {name}", spread(samples, name, "us"), unit="us",
                 note=f"{spread(samples, name, 'per_second').median:,.0f} req/s") for name in sides]
    # Before compression: random bodies do not get smaller.
    return rows + [Row(f"replay, bytes the broker wrote / bytes of the log, {name}", spread(samples, name, "fetched"))
                   for name in sides]


def written(pid):
    """Bytes that a process has written so far, to sockets too."""
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("wchar:"))


def replicas(bench, target, kafka):
    """One job by so many processes: what all of them use together for a request.

    A long job and a short one tell what a request costs from what each process takes for
    its start, for joining and leaving the group and for its end."""
    counts = {"short": 20_000, "long": 80_000} if bench.quick else {"short": 80_000, "long": 320_000}
    logs = {name: kafka.topic() for name in counts}
    for name, log in logs.items():
        make_log(bench, log, requests=counts[name], size=1024, connections=256, partitions=16)

    def side(number):
        def one(_):
            done = {name: shared(bench, log, target, number, counts[name]) for name, log in logs.items()}
            cpu = {name: sample["cpu_s"] for name, sample in done.items()}
            each = (cpu["long"] - cpu["short"]) / (counts["long"] - counts["short"])
            return {"us": cpu["long"] / counts["long"] * 1e6, "per_second": done["long"]["per_second"],
                    "growing_us": each * 1e6, "fixed_ms": (cpu["short"] - each * counts["short"]) / number * 1e3,
                    "short_us": cpu["short"] / counts["short"] * 1e6,
                    "shares": {name: sample["shares"] for name, sample in done.items()}}
        return one

    sides = {f"{number} replicas": side(number) for number in REPLICAS}
    samples = alternate(bench, sides, rounds=min(bench.rounds, 3), warm_up=False)
    first, last = f"{REPLICAS[0]} replicas", f"{REPLICAS[-1]} replicas"
    rows = [Row(f"replay, CPU per request of all: {last} / {first}", ratio(samples, last, first, "us"), goal=1.1, least=1.25,
                samples=samples, note=f"{counts['long']:,} requests; start and joining of each process included"),
            Row(f"replay, CPU per request of all, {counts['short']:,} requests: {last} / {first}",
                ratio(samples, last, first, "short_us"), note="the same of a shorter job")]
    for name in sides:
        growing, fixed = spread(samples, name, "growing_us").median, spread(samples, name, "fixed_ms").median
        rows.append(Row(f"replay, CPU per request of all, {name}", spread(samples, name, "us"), unit="us",
                        note=f"{spread(samples, name, 'per_second').median:,.0f} req/s; {growing:.1f} us for each "
                             f"more, {fixed:.0f} ms for each process"))
    return rows


def shared(bench, log, target, number, count):
    """A job of so many requests, done by so many processes."""
    job = f"job-{number}-{time.monotonic_ns()}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    members = [bench.replay("--log", log, "--target", target.url, "--rate", "max", "--job", job,
                            "--concurrency", CONNECTIONS // number, wait=False) for _ in range(number)]
    deadline = time.monotonic() + 120
    while any(member.process.poll() is None for member in members):
        if time.monotonic() > deadline:
            raise Failed(f"{number} replicas did not end: {members[0].output()[-500:]}")
        time.sleep(0.02)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = [member.stop() for member in members]
    if any(member.process.returncode != 0 for member in members):
        raise Failed(f"a replica ended with an error: {members[0].output()[-500:]}")
    shares = [settled(result)["sent"] for result in results]
    if sum(shares) != count:
        raise Failed(f"{number} replicas sent {json.dumps(shares)} of {count}")
    return {"cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "per_second": count / max(result["duration_s"] for result in results), "shares": shares}
