"""Memory of the agent: busy, with idle connections, and while Kafka is away."""

import resource
import socket
import threading
import time

from parts import Row, h2load, wrk
from parts.bench import Failed

MB = 1e6
IDLE = 10_000
BUDGET = 64 << 20
BUDGET_TEXT = "64MiB"
RATE = 2000


def run(bench):
    upstream = bench.upstream(size=1024)
    kafka = bench.kafka()
    return busy(bench, upstream, kafka) + idle(bench, upstream, kafka) + outage(bench, upstream, kafka)


def busy(bench, upstream, kafka):
    """The most that is resident under full load on 64 connections."""
    requests = bench.agent(upstream, "--responses", "off", log=kafka.topic(), name="requests")
    answers = bench.agent(upstream, "--responses", "full", log=kafka.topic(), name="answers")
    nginx, envoy = bench.nginx_proxy(upstream), bench.envoy(upstream)
    peaks, calm = {}, {}
    for part in (requests, answers, nginx, envoy):
        h2load(bench, part.url, bench.scaled(3), connections=64, rate=10_000, http1=True)
        calm[part.name] = part.peak() / MB
        for _ in range(2):
            wrk(bench, part.url, bench.scaled(3))
        peaks[part.name] = part.peak() / MB
        bench.say(f"{part.name}: {calm[part.name]:.1f} MB at 10,000/s, {peaks[part.name]:.1f} MB at full load")
    note = bench.complete(requests, answers)
    return [
        Row("peak memory at 64 busy connections, requests recorded", peaks["requests"], goal=40, unit="MB", note=note),
        Row("peak memory at 64 busy connections, answers too", peaks["answers"], goal=40, unit="MB"),
        Row("the same, nginx proxy_pass", peaks["nginx"], unit="MB"),
        Row("the same, Envoy without mirror", peaks["envoy"], unit="MB"),
        Row("peak memory at 10,000/s, requests recorded", calm["requests"], unit="MB"),
        Row("peak memory at 10,000/s, answers too", calm["answers"], unit="MB"),
    ]


def idle(bench, upstream, kafka):
    """What a connection takes that has made a request and is kept open."""
    agent = bench.agent(upstream, "--responses", "off", "--idle-timeout", "10m", log=kafka.topic(), name="idle")
    nginx = bench.nginx_proxy(upstream)
    count = IDLE // 10 if bench.quick else IDLE
    # The agent takes a client only if there is a descriptor left for its upstream too.
    count = min(count, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000) // 2)
    values = {}
    for part in (agent, nginx):
        connections, at = [], []
        try:
            # From a fifth to all of them: what is allocated once is not charged to the connections.
            for goal in (count // 5, count):
                connections += [one_request(part.port) for _ in range(goal - len(connections))]
                time.sleep(2.0)
                at.append(part.rss())
        finally:
            for each in connections:
                each.close()
        values[part.name] = (at[1] - at[0]) / (count - count // 5) / 1e3
        bench.say(f"{part.name}: {values[part.name]:.2f} KB for each of {count} idle connections")
    bench.complete(agent)
    return [
        Row(f"memory of each of {count:,} idle connections", values["idle"], goal=8, unit="KB"),
        Row("the same, nginx proxy_pass", values["nginx"], unit="KB"),
    ]


def one_request(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    received = b""
    while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < 1024:
        more = connection.recv(65536)
        if not more:
            raise Failed("a connection was closed")
        received += more
    return connection


def outage(bench, upstream, kafka):
    """Kafka stands still for a minute at 2,000 requests/s with bodies of 1 KB: 120 MB."""
    seconds = bench.scaled(60)
    memory = ("--responses", "off", "--memory", BUDGET_TEXT)
    agents = [bench.agent(upstream, *memory, log=kafka.topic(), name="spool"),
              bench.agent(upstream, *memory, "--spool", "off", log=kafka.topic(), name="no-spool")]
    body = bytes(range(32, 96)) * 16

    def load(part, seconds):
        h2load(bench, part.url, seconds, connections=16, rate=RATE, http1=True, body=body)

    for part in agents:
        load(part, 1)
    kafka.part.freeze()
    try:
        threads = [threading.Thread(target=load, args=(part, seconds)) for part in agents]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        peaks = [part.peak() / MB for part in agents]
    finally:
        kafka.part.thaw()
    results = [part.stop(patience=60) for part in agents]
    for part, peak, result in zip(agents, peaks, results):
        bench.say(f"{part.name}: peak {peak:.1f} MB, {result}")
    if results[0]["recorded"] != results[0]["requests"]:
        raise Failed(f"with a spool nothing may be lost: {results[0]}")
    bound = BUDGET / MB + 40
    return [
        Row(f"peak memory, {seconds:g} s without Kafka at {RATE}/s, --memory {BUDGET_TEXT}", peaks[0], goal=bound,
            unit="MB", note=str(results[0])),
        Row("the same with --spool off: the budget fills, the rest is counted", peaks[1], goal=bound, unit="MB",
            note=str(results[1])),
    ]
