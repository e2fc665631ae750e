"""S1: what a request costs the agent that stands in front, recording it into real Kafka."""

from parts import Row, alternate, cost, ratio, spread, wrk

TITLE = "front CPU per request: agent recording into Kafka / nginx proxy_pass recording nothing"
GOAL = "<= 1.0x, with answers <= 1.2x"
LEAST = "1.2x, 1.5x"


def run(bench):
    upstream = bench.upstream(size=1024)
    kafka = bench.kafka()
    nginx = bench.nginx_proxy(upstream)
    requests = bench.agent(upstream, "--responses", "off", log=kafka.topic(), name="requests")
    answers = bench.agent(upstream, "--responses", "full", log=kafka.topic(), name="answers")

    def side(part, also=()):
        return lambda seconds: cost(bench, part, lambda: wrk(bench, part.url, seconds), also=also)

    samples = alternate(bench, {
        "nginx": side(nginx), "requests": side(requests, [kafka.part]), "answers": side(answers, [kafka.part])})
    rows = [
        Row("CPU/request, requests recorded / nginx", ratio(samples, "requests", "nginx", "us"), goal=1.0, least=1.2,
            samples=samples),
        Row("CPU/request, requests and answers / nginx", ratio(samples, "answers", "nginx", "us"), goal=1.2, least=1.5),
        Row("throughput, requests recorded / nginx", ratio(samples, "requests", "nginx", "per_second"), more=True),
        Row("nginx CPU/request", spread(samples, "nginx", "us"), unit="us"),
        Row("agent CPU/request, requests", spread(samples, "requests", "us"), unit="us"),
        Row("agent CPU/request, with answers", spread(samples, "answers", "us"), unit="us"),
        Row("the broker's CPU/request, requests", spread(samples, "requests", "us.kafka"), unit="us"),
    ]
    bench.complete(requests, answers)
    return rows
