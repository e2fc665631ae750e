"""S7: replay as fast as the target answers, beside load tools that send one request over and over."""

import resource
import threading
import time
import urllib.request

from parts import Row, alternate, h2load, oha, ratio, spread, wrk
from parts.bench import Failed, goreplay_path
from parts.load import have_oha
from parts.logs import body, make_gor, make_log, replayed, request, settled

TITLE = "replay --rate max of 1 KB requests from each log / load tools on the same target"
GOAL = ">= 1.2x oha, >= 0.6x wrk"
LEAST = "0.9x, 0.35x"

CONNECTIONS = 64
SIZE = 1024


def run(bench):
    target = Target(bench)
    kafka = bench.kafka()
    logs = {"file": bench.tmp / "log", "kafka": kafka.topic()}
    # About what a round takes on two cores; on a faster machine it is done sooner.
    count = round(40_000 * bench.seconds)
    for log in logs.values():
        make_log(bench, log, requests=count, size=SIZE, connections=CONNECTIONS)
    gor = bench.tmp / "requests.gor"
    make_gor(gor, [number * 10_000 for number in range(20_000)], lambda number: request(number, SIZE))
    samples = alternate(bench, sides(bench, target, kafka, logs, count, gor),
                        rounds=min(bench.rounds, 3))
    return rows(samples)


def sides(bench, target, kafka, logs, count, gor):
    length = SIZE - 160
    script = (f'wrk.method = "POST"\nwrk.path = "/p/12345"\nwrk.body = "{body(length).decode()}"\n'
              'wrk.headers["User-Agent"] = "bench/1"\nwrk.headers["Accept"] = "*/*"\n'
              'wrk.headers["Content-Type"] = "application/octet-stream"\n')
    plain = ["User-Agent: bench/1", "Accept: */*", "Content-Type: application/octet-stream"]

    def replay(name):
        def side(_):
            broker = kafka.part.cpu()
            sample = target.watched(lambda: replayed(
                bench, "--log", logs[name], "--target", target.url, "--rate", "max",
                "--concurrency", CONNECTIONS))
            result, cost = sample.pop("result")
            sent = settled(result, count)["sent"]
            return sample | {"requests": sent, "own_per_second": sent / result["duration_s"], "us": cost["cpu_s"] / sent * 1e6,
                             "peak_bytes": cost["peak_bytes"], "wall_s": cost["wall_s"],
                             "broker_us": (kafka.part.cpu() - broker) / sent * 1e6}
        return side

    def tool(load):
        def side(seconds):
            before = used()
            sample = target.watched(lambda: load(seconds))
            done = sample.pop("result")
            return sample | {"requests": done.requests, "own_per_second": done.per_second,
                             "us": (used() - before) / done.requests * 1e6}
        return side

    found = {
        "file": replay("file"), "kafka": replay("kafka"),
        "wrk": tool(lambda seconds: wrk(bench, target.url, seconds, connections=CONNECTIONS, script=script)),
        "h2load": tool(lambda seconds: h2load(bench, target.url + "/p/12345", seconds, connections=CONNECTIONS, http1=True,
                                              body=body(length), headers=plain)),
    }
    if have_oha():
        found["oha"] = tool(lambda seconds: oha(
            bench, target.url + "/p/12345", seconds, connections=CONNECTIONS, headers=plain, body=body(length)))
    if goreplay_path():
        found["goreplay"] = lambda seconds: goreplay(bench, target, gor, seconds)
    return found


def rows(samples):
    found = []
    for log, name in (("file", "embedded log"), ("kafka", "Kafka")):
        found.append(Row(f"requests/s from {name} / wrk", ratio(samples, log, "wrk", "per_second"), goal=0.6, least=0.35,
                         more=True, samples=samples if log == "file" else None,
                         note="as the target counted them, between the first and the last tenth"))
        if "oha" in samples:
            found.append(Row(f"requests/s from {name} / oha", ratio(samples, log, "oha", "per_second"),
                             goal=1.2, least=0.9, more=True))
        found.append(Row(f"requests/s from {name} / h2load", ratio(samples, log, "h2load", "per_second"), more=True))
        if "goreplay" in samples:
            found.append(Row(f"requests/s from {name} / GoReplay from its file",
                             ratio(samples, log, "goreplay", "per_second"), more=True))
    for log in ("file", "kafka"):
        for peer in ("wrk", "oha", "h2load", "goreplay"):
            if peer in samples:
                found.append(Row(f"CPU per request, {log} / {peer}", ratio(samples, log, peer, "us")))
    for name in samples:
        found.append(Row(f"{name}", spread(samples, name, "per_second"), unit="req/s", more=True))
        found.append(Row(f"{name}: CPU per request", spread(samples, name, "us"), unit="us"))
    return found


class Target:
    """nginx that reads what it is sent, answers two bytes, and counts."""

    def __init__(self, bench):
        self.part = bench.nginx(
            "target", "listen 127.0.0.1:{port} backlog=4096; location / { return 200 ok; } "
                      "location = /status { stub_status; }")
        self.url = self.part.url

    def count(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + "/status", timeout=10) as answer:
            return int(answer.read().split()[9])

    def watched(self, work):
        """Does `work()` while the target's counter is read every 50 ms."""
        seen, stop, cpu = [], threading.Event(), self.part.cpu()

        def watch():
            while not stop.is_set():
                count = self.count()
                seen.append((time.monotonic(), count))
                stop.wait(0.05)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            result = work()
        finally:
            stop.set()
            thread.join()
        # Each look is a request too.
        seen = [(at, count - place) for place, (at, count) in enumerate(seen)]
        total = seen[-1][1] - seen[0][1]
        rate = slope(seen)
        return {"result": result, "per_second": rate, "counted": total,
                "target_us": (self.part.cpu() - cpu) / max(1, total) * 1e6}


def slope(seen):
    """Requests a second between a tenth and nine tenths of them."""
    first, total = seen[0][1], seen[-1][1] - seen[0][1]
    if total < 1000:
        raise Failed(f"the target saw {total} requests")

    def when(count):
        for (a, low), (b, high) in zip(seen, seen[1:]):
            if high >= count:
                return a + (b - a) * (count - low) / (high - low)
        return seen[-1][0]

    return 0.8 * total / (when(first + 0.9 * total) - when(first + 0.1 * total))


def goreplay(bench, target, path, seconds):
    before = target.count()

    def work():
        part = bench.goreplay("--input-file", f"{path}|100000%", "--input-file-loop", "--output-http", target.url,
                              "--output-http-workers", CONNECTIONS, "--output-http-workers-min", CONNECTIONS)
        time.sleep(max(2.0, seconds))
        cpu = part.cpu()
        part.stop()
        return cpu

    sample = target.watched(work)
    cpu = sample.pop("result")
    return sample | {"requests": sample["counted"], "us": cpu / max(1, target.count() - before) * 1e6}


def used():
    """CPU seconds of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime
