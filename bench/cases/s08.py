"""S8: pacing at fixed rates and at multiples of a recording, as the receiver sees it."""

import ctypes
import random
import time

from parts import Row, Spread, alternate
from parts.arrivals import Arrivals, punctuality
from parts.bench import goreplay_path
from parts.logs import make_gor, make_log, replayed, request, settled

TITLE = "pacing: lag of sends, error of the rate, drift over 3 min"
GOAL = "p50 <= 0.1 ms, p99 <= 1 ms, rate error <= 0.1 %, no drift"
LEAST = "the same"

# A recording of so many requests a second, and how it is played back. The long one at 1x
# takes its 180 s; GoReplay, which ends at about 950 a second, plays the short one.
LONG = {"rate": 100, "seconds": 180}
SHORT = {"rate": 500, "seconds": 20}

PR_SET_TIMERSLACK = 29


def run(bench):
    receiver = Arrivals(bench)
    return fixed_rates(bench, receiver) + drift(bench, receiver) + speeds(bench, receiver)


def recording(bench, name, rate, seconds):
    """A log with random spacing, as independent users make it: (its address, times in ns)."""
    rng, at, times = random.Random(8), 0.0, []
    while at < seconds:
        times.append(round(at * 1e9))
        at += rng.expovariate(rate)
    path = bench.tmp / f"{name}.times"
    path.write_text("".join(f"{each}\n" for each in times))
    log = bench.tmp / name
    make_log(bench, log, times=path, size=0)
    return log, times


def play(bench, receiver, log, count, ideal, *flags):
    """One replay, told twice: by its own result, and by who received it."""
    receiver.take()
    # Pacing alone: what an answer on the same connection holds back is another matter.
    result, cost = replayed(bench, "--log", log, "--target", receiver.url, "--order", "free", *flags)
    settled(result, count)
    seen = punctuality(receiver.take(), ideal)
    own = result["lag_ms"]
    return seen | {"own_p50_ms": own["p50"], "own_p99_ms": own["p99"], "own_max_ms": own["max"],
                   "cpu_us": cost["cpu_s"] / count * 1e6}


def rows(name, samples, judged=True):
    values = lambda key: Spread([sample[key] for sample in samples])
    goal = (lambda bound: {"goal": bound}) if judged else (lambda bound: {})
    found = [
        Row(f"{name}: lag p50", values("lag_p50_ms"), unit="ms", samples=samples, **goal(0.1)),
        Row(f"{name}: lag p99", values("lag_p99_ms"), unit="ms", **goal(1.0)),
        Row(f"{name}: error of the rate", values("rate_error_percent"), unit="%", **goal(0.1)),
    ]
    if "own_p50_ms" in samples[0]:
        found.append(Row(f"{name}: lag p50 as the replayer says", values("own_p50_ms"), unit="ms"))
        found.append(Row(f"{name}: lag p99 as the replayer says", values("own_p99_ms"), unit="ms"))
    return found


def fixed_rates(bench, receiver):
    found = []
    log = bench.tmp / "even"
    seconds = 2 if bench.quick else 5
    make_log(bench, log, requests=10_000 * seconds, rate=20_000, size=0)

    def at(rate):
        def side(_):
            count = rate * seconds
            ideal = lambda position, _: position * 1_000_000_000 // rate
            return play(bench, receiver, log, count, ideal, "--rate", rate, "--limit", count)
        return side

    sides = {f"{rate}/s": at(rate) for rate in (100, 1_000, 10_000)}
    samples = alternate(bench, sides | {"machine": bare}, rounds=min(bench.rounds, 2), warm_up=False)
    for name in sides:
        found += rows(name, samples[name])
    values = lambda key: Spread([sample[key] for sample in samples["machine"]])
    return [*found,
            Row("the machine: a bare thread woken 1,000 times a second is late, p50", values("lag_p50_ms"), unit="ms",
                samples=samples["machine"]),
            Row("the machine: the same, p99", values("lag_p99_ms"), unit="ms")]


def bare(seconds, rate=1_000):
    """How well this machine keeps time: a thread that does nothing but sleep until an instant."""
    # Back to the default at the end: what is started later would inherit it.
    slack = lambda ns: ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ns, 0, 0, 0)
    slack(1)
    late, begin = [], time.monotonic() + 0.01
    for number in range(round(rate * seconds)):
        due = begin + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        late.append((time.monotonic() - due) * 1e3)
    slack(0)
    late.sort()
    return {"lag_p50_ms": late[len(late) // 2], "lag_p99_ms": late[len(late) * 99 // 100], "lag_max_ms": late[-1]}


def drift(bench, receiver):
    """The long recording at 1x, once."""
    seconds = bench.scaled(LONG["seconds"])
    log, times = recording(bench, "long", LONG["rate"], seconds)
    bench.say(f"1x takes {seconds:.0f} s")
    sample = play(bench, receiver, log, len(times), lambda _, number: times[number])
    drifted = Row(f"1x: drift in {seconds:.0f} s", abs(sample["drift_ms"]), goal=1.0, unit="ms",
                  note="median lag of the last tenth less that of the first")

    def fast(_):
        return play(bench, receiver, log, len(times), lambda _, number: times[number] / 100, "--speed", 100)

    samples = alternate(bench, {"100x": fast}, rounds=min(bench.rounds, 3), warm_up=False)
    return [*rows("1x", [sample]), drifted, *rows("100x (10,000/s)", samples["100x"])]


def speeds(bench, receiver):
    """10x, in turns with GoReplay playing the same."""
    log, times = recording(bench, "short", SHORT["rate"], bench.scaled(SHORT["seconds"]))
    gor = bench.tmp / "short.gor"
    make_gor(gor, times, request)
    ideal = lambda _, number: times[number] / 10
    sides = {"10x": lambda _: play(bench, receiver, log, len(times), ideal, "--speed", 10)}
    if goreplay_path():
        sides["GoReplay, 10x"] = lambda _: goreplay(bench, receiver, gor, len(times), ideal)
    samples = alternate(bench, sides, rounds=min(bench.rounds, 2), warm_up=False)
    found = rows("10x (5,000/s)", samples["10x"])
    if "GoReplay, 10x" in samples:
        theirs = samples["GoReplay, 10x"]
        found += rows("GoReplay, 10x", theirs, judged=False)
        wanted = times[-1] / 1e10
        for name in sides:
            found.append(Row(f"{name}: time taken / time it should take",
                             [sample["took_s"] / wanted for sample in samples[name]]))
    return found


def goreplay(bench, receiver, path, count, ideal):
    receiver.take()
    part = bench.goreplay("--input-file", f"{path}|1000%", "--output-http", receiver.url,
                          "--output-http-workers", 64)
    try:
        came = receiver.wait_for(count, patience=60)
        used = part.cpu()
    finally:
        part.stop()
    seen = punctuality(receiver.take(), ideal)
    return seen | {"sent_of": count, "missing": count - came, "cpu_us": used / max(1, came) * 1e6}
