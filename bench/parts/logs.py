"""Logs of known content for replays, written by the example make_log; runs of the replayer."""

import json
import pathlib
import resource
import time

from .bench import Failed

MARK = b"\n\xf0\x9f\x90\xb5\xf0\x9f\x99\x88\xf0\x9f\x99\x89\n"


def example(bench, name):
    """The path of an example program, which is built beside the binary."""
    path = pathlib.Path(bench.umbra).parent / "examples" / name
    if not path.exists():
        raise Failed(f"{path.name} is not built: scripts/bench does that (cargo build --release --examples)")
    return path


def make_log(bench, log, limit=600, **options):
    """Writes a log of synthetic requests; options as `make_log` takes them. Returns what it wrote."""
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    made = json.loads(bench.run([example(bench, "make_log"), log, *words], limit=limit).splitlines()[-1])
    bench.say(f"made a log of {made['requests']} requests, {made['bytes'] / 1e6:.0f} MB, in {made['took_s']:.1f} s")
    return made


def make_gor(path, times, message):
    """The same for GoReplay: request `n` is `message(n)`, captured at `times[n]` ns."""
    with open(path, "wb") as out:
        for number, at in enumerate(times):
            out.write(b"1 %024x %d\n" % (number, 1_700_000_000_000_000_000 + at) + message(number) + MARK)


def request(number, size=0, host="bench.example"):
    """Like the requests of make_log: `size` bytes as a whole, or a GET."""
    path = f"/p/{number}"
    head = f"Host: {host}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
    content = "Content-Type: application/octet-stream\r\nContent-Length: "
    length = size - len(f"POST {path} HTTP/1.1\r\n{head}{content}1000\r\n\r\n")
    if length <= 0:
        return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
    return f"POST {path} HTTP/1.1\r\n{head}{content}{length}\r\n\r\n".encode() + body(length)


def body(length):
    """Bytes that are no text but need no escaping in a Lua string."""
    return bytes(65 + (i * 7 + i // 26) % 26 for i in range(length))


def replayed(bench, *flags, limit=300, every=0.02):
    """Runs `umbra replay` to its end: (its result, what it cost).

    CPU is what the kernel counted for the process at its end; the peak of its memory is
    looked at while it runs."""
    # Children that have ended since are this one alone: no other is waited for meanwhile.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    part = bench.replay(*flags, wait=False)
    peak = 0
    while part.process.poll() is None:
        peak = max(peak, part.peak())
        time.sleep(every)
        if time.monotonic() - begun > limit:
            raise Failed(f"the replay did not end in {limit} s: {part.output()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = part.stop()
    if part.process.returncode != 0 or result is None:
        raise Failed(f"the replay ended with {part.process.returncode}: {part.output()[-1000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, {"cpu_s": cpu, "peak_bytes": peak, "wall_s": time.monotonic() - begun}


def settled(result, wanted=None):
    """The one target's part of a result; every request must have been answered."""
    target = next(iter(result["targets"].values()))
    if target["failed"] or target["skipped"] or (wanted is not None and target["answered"] != wanted):
        raise Failed(f"not all were answered: {json.dumps(target)[:600]}")
    return target
