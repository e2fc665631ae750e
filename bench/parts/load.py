"""Load tools, what they say, and what a request cost while they ran."""

import dataclasses
import os
import re
import shutil
import subprocess
import time

UNITS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclasses.dataclass
class Load:
    """What a load tool did. Latencies in ms; None where the tool does not tell."""

    requests: int
    seconds: float
    p50_ms: float = None
    p99_ms: float = None
    failed: int = 0
    output: str = ""

    @property
    def per_second(self):
        return self.requests / self.seconds if self.seconds else 0.0


def _ms(text):
    number, unit = re.fullmatch(r"([\d.]+)([a-zµ]+)", text).groups()
    return float(number) * UNITS[unit]


def _run(bench, argv, allow_failures, limit):
    bench.command(argv)
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=limit, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{argv[0]}: {result.stdout[-600:]} {result.stderr[-600:]}")
    return result.stdout


def _checked(load, allow_failures):
    if load.failed and not allow_failures:
        raise RuntimeError(f"{load.failed} of {load.requests} requests failed: {load.output[-800:]}")
    if not load.requests:
        raise RuntimeError(f"no request was answered: {load.output[-800:]}")
    return load


def wrk(bench, url, seconds, connections=64, threads=1, script=None, headers=(), allow_failures=False):
    """As many requests as go, over HTTP/1.1. `script` is the text of a Lua script."""
    argv = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "20s"]
    for header in headers:
        argv += ["-H", header]
    if script:
        path = bench.tmp / f"{abs(hash(script))}.lua"
        path.write_text(script)
        argv += ["-s", path]
    text = _run(bench, [*argv, url], allow_failures, seconds + 60)
    done = re.search(r"(\d+) requests in ([\d.]+[a-zµ]+)", text)
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed += sum(map(int, sockets.groups())) if sockets else 0
    at = {percent: _ms(value) for percent, value in re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.M)}
    return _checked(Load(int(done[1]), _ms(done[2]) / 1e3, at.get("50"), at.get("99"), failed, text), allow_failures)


def h2load(bench, url, seconds=None, requests=None, connections=1, streams=1, rate=None, http1=False,
           body=None, headers=(), threads=1, latencies=False, allow_failures=False):
    """`seconds` or `requests`; `rate` in requests a second over all connections. With
    `latencies` each request's own is read from its log (exact, but a file of 30 bytes each)."""
    argv = ["h2load", "-t", threads, "-c", connections, "-m", streams]
    if http1:
        argv.append("--h1")
    argv += ["-D", max(1, round(seconds))] if seconds else ["-n", requests]
    if rate:
        argv += ["--rps", f"{rate / connections:g}"]
    if body is not None:
        path = bench.tmp / f"body-{abs(hash(body))}"
        path.write_bytes(body)
        argv += ["-d", path]
    for header in headers:
        argv += ["-H", header]
    log = None
    if latencies:
        log = bench.tmp / "h2load.log"
        log.unlink(missing_ok=True)
        argv += ["--log-file", log]
    started = time.monotonic()
    text = _run(bench, [*argv, url], allow_failures, (seconds or 60) + 60)
    took = time.monotonic() - started
    count = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed", text)
    finished = re.search(r"finished in ([\d.]+[a-zµ]+),", text)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    seconds_taken = _ms(finished[1]) / 1e3 if finished else took
    # At the end of a timed run h2load gives up what is in flight and calls it failed.
    failed = int(statuses[3]) + int(statuses[4]) + max(0, int(count[5]) - connections * streams)
    load = Load(int(statuses[1]) + int(statuses[2]), seconds_taken, failed=failed, output=text)
    if log:
        times = sorted(int(line.split("\t")[2]) / 1e3 for line in log.read_text().splitlines() if line)
        log.unlink()
        load.p50_ms = times[len(times) // 2]
        load.p99_ms = times[len(times) * 99 // 100]
    return _checked(load, allow_failures)


def have_oha():
    return shutil.which("oha") or (os.path.exists(os.path.expanduser("~/.cargo/bin/oha")) and os.path.expanduser("~/.cargo/bin/oha"))


def oha(bench, url, seconds=None, requests=None, connections=64, rate=None, headers=(), body=None,
        allow_failures=False):
    """Needs oha (have_oha())."""
    import json

    argv = [have_oha(), "--no-tui", "--output-format", "json", "-c", connections]
    argv += ["-z", f"{seconds:g}s"] if seconds else ["-n", requests]
    if rate:
        argv += ["-q", f"{rate:g}"]
    if body is not None:
        path = bench.tmp / f"body-{abs(hash(body))}"
        path.write_bytes(body)
        argv += ["-m", "POST", "-D", path]
    for header in headers:
        argv += ["-H", header]
    text = _run(bench, [*argv, url], allow_failures, (seconds or 60) + 60)
    result = json.loads(text)
    done = sum(count for code, count in result["statusCodeDistribution"].items() if code[0] in "23")
    bad = sum(count for code, count in result["statusCodeDistribution"].items() if code[0] not in "23")
    at = result["latencyPercentiles"]
    return _checked(Load(done, result["summary"]["total"], at["p50"] * 1e3, at["p99"] * 1e3, bad, text), allow_failures)


def cost(bench, part, load, also=(), settle=0.3):
    """Runs `load()` and says what one request of it cost `part`, and the parts of `also` beside
    it. What is done just after the last answer (a batch that lingers) is waited for and counts."""
    parts = [part, *also]
    before = [each.cpu_by_thread() for each in parts]
    done = load()
    time.sleep(settle)
    after = [each.cpu_by_thread() for each in parts]
    used = [sum(now.values()) - sum(start.values()) for now, start in zip(after, before)]
    sample = {"requests": done.requests, "seconds": done.seconds, "per_second": done.per_second,
              "us": used[0] / done.requests * 1e6,
              "threads_us": {name: round((total - before[0].get(name, 0)) / done.requests * 1e6, 3)
                             for name, total in after[0].items()}}
    if done.p50_ms is not None:
        sample |= {"p50_ms": done.p50_ms, "p99_ms": done.p99_ms}
    for each, cpu in zip(parts[1:], used[1:]):
        sample[f"us.{each.name}"] = cpu / done.requests * 1e6
    if done.failed:
        sample["failed"] = done.failed
    return sample
