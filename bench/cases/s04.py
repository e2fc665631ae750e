"""S4: the latency the agent adds at a modest rate, over what nginx adds."""

from parts import Row, alternate, cost, difference, spread
from parts.paced import paced

TITLE = "p50 latency at 2,000 req/s: agent recording into Kafka minus nginx proxy_pass"
GOAL = "<= 0 ms"
LEAST = "0.05 ms"
RATE = 2000


def run(bench):
    upstream = bench.upstream(size=1024)
    kafka = bench.kafka()
    fronts = {
        "direct": upstream,
        "nginx": bench.nginx_proxy(upstream),
        "requests": bench.agent(upstream, "--responses", "off", log=kafka.topic(), name="requests"),
        "answers": bench.agent(upstream, "--responses", "full", log=kafka.topic(), name="answers"),
    }

    def side(part):
        return lambda seconds: cost(bench, part, lambda: paced(bench, part, seconds, RATE), settle=0.1)

    # Many short rounds: what the machine does beside changes from second to second.
    samples = alternate(bench, {name: side(part) for name, part in fronts.items()},
                        seconds=bench.seconds / 2, rounds=bench.rounds * 2)
    rows = [
        Row("p50, agent recording requests - nginx", difference(samples, "requests", "nginx", "p50_ms"),
            goal=0.0, least=0.05, unit="ms", samples=samples),
        Row("p50, agent recording answers too - nginx", difference(samples, "answers", "nginx", "p50_ms"), unit="ms"),
        Row("p50 added by nginx over no proxy", difference(samples, "nginx", "direct", "p50_ms"), unit="ms"),
        Row("p50 added by the agent over no proxy", difference(samples, "requests", "direct", "p50_ms"), unit="ms"),
        Row("p99, agent recording requests - nginx", difference(samples, "requests", "nginx", "p99_ms"), unit="ms"),
        Row("CPU/request at this rate, nginx", spread(samples, "nginx", "us"), unit="us"),
        Row("CPU/request at this rate, agent recording requests", spread(samples, "requests", "us"), unit="us"),
    ]
    bench.complete(fronts["requests"], fronts["answers"])
    return rows
