"""The parts a case is made of: real processes, load, what they cost, and rounds.

A case is a module of bench/cases with TITLE, GOAL, LEAST (text of the two columns of
the specification) and `run(bench) -> list[Row]`. `bench` (parts.bench.Bench) starts real parts and
ends all of them when the case ends, however it ends:

    upstream = bench.upstream(size=1024)                 nginx with a static answer; .port, .url
    shadow   = bench.upstream(status=204)
    nginx    = bench.nginx_proxy(upstream)               proxy_pass; mirror=shadow adds `mirror`
    envoy    = bench.envoy(upstream, mirror=shadow)      mirror 100 %; http2=True speaks h2 upstream
    kafka    = bench.kafka()                             a broker of its own; .brokers, .topic(), .tool()
    agent    = bench.agent(upstream, "--responses", "off", log=kafka.topic())
    replayer = bench.replay("--log", log, "--target", shadow.url, "--live", wait=False)
    result   = bench.replay("--log", log, "--target", shadow.url, "--rate", "max")   the result's JSON
    gor      = bench.goreplay("--input-raw", f":{port}", "--output-file", path)
    other    = bench.start("name", [command…], ready=lambda: …)

All of them are a Part: .pid, .cpu() (CPU seconds so far of all its processes and threads, to
the nanosecond), .rss(), .peak(), .reset_peak(), .freeze(), .thaw(), .stop(), .output().
Agent.stop() returns what the agent says at its end (requests, recorded, lost…). Also:
bench.tmp (a directory that is removed), bench.umbra (path of the binary), bench.free_port(),
bench.run([command…]) -> output, bench.say("progress"), bench.command(argv) (recorded in the results).

Load: wrk(bench, url, seconds, connections=64), h2load(bench, url, seconds, …), both -> Load with
.requests, .seconds, .per_second, .p50_ms, .p99_ms, .failed; oha(...) if it is there.

    samples = alternate(bench, {"nginx": side, "agent": side})     ABBA…, first round thrown away;
        a side is a function of the seconds it shall take and returns a dict of numbers,
        such as cost(bench, part, lambda: wrk(bench, part.url, seconds)), which gives
        requests, seconds, per_second, p50_ms, us (CPU per request), and us.NAME for other parts
    ratio(samples, "agent", "nginx", "us") -> Spread (median, low, high over the rounds)
    difference(samples, "agent", "nginx", "p50_ms") -> Spread
    spread(samples, "agent", "us") -> Spread

    Row("what is compared", spread, goal=1.0, least=1.2)   less is better, or Row(…, more=True);
        unit="x" by default; without a goal a row is information. samples=… and note=… are kept.

bench.seconds and bench.rounds are what a round takes and how many there are; `--quick` makes
both small. bench.scaled(60) is 60, or a few seconds under --quick.
"""

from .bench import Bench, Failed
from .load import Load, cost, h2load, oha, wrk
from .process import Part
from .rounds import Row, Spread, alternate, difference, ratio, spread

__all__ = [
    "Bench", "Failed", "Load", "Part", "Row", "Spread", "alternate", "cost", "difference",
    "h2load", "oha", "ratio", "spread", "wrk",
]
