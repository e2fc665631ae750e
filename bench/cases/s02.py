"""S2: the agent, recording every request into Kafka, beside proxies that mirror every request."""

from parts import Row, alternate, cost, ratio, spread, wrk

TITLE = "agent recording into Kafka / nginx mirror and Envoy mirror 100 %: throughput, CPU per request"
GOAL = "throughput >= 3.5x nginx, >= 3x Envoy; CPU <= 1/4"
LEAST = "2.5x, 2.2x; 1/3"


def run(bench):
    upstream = bench.upstream(size=1024)
    shadow = bench.upstream(size=1024, name="shadow")
    silent = bench.upstream(status=204, name="shadow-204")
    fronts = {
        "nginx": bench.nginx_proxy(upstream, mirror=shadow),
        "nginx-204": bench.nginx_proxy(upstream, mirror=silent, name="nginx-mirror-204"),
        "envoy": bench.envoy(upstream, mirror=shadow),
        "agent": bench.agent(upstream, "--responses", "off", log=bench.kafka().topic()),
    }

    def side(part):
        return lambda seconds: cost(bench, part, lambda: wrk(bench, part.url, seconds))

    samples = alternate(bench, {name: side(part) for name, part in fronts.items()})
    throughput = lambda other: ratio(samples, "agent", other, "per_second")
    cpu = lambda other: ratio(samples, "agent", other, "us")
    rows = [
        Row("throughput, agent / nginx mirror", throughput("nginx"), goal=3.5, least=2.5, more=True, samples=samples),
        Row("throughput, agent / Envoy mirror", throughput("envoy"), goal=3.0, least=2.2, more=True),
        Row("CPU/request, agent / nginx mirror", cpu("nginx"), goal=0.25, least=0.333),
        Row("CPU/request, agent / Envoy mirror", cpu("envoy"), goal=0.25, least=0.333),
        Row("throughput, agent / nginx mirror, shadow answers 204", throughput("nginx-204"), more=True),
        Row("CPU/request, agent / nginx mirror, shadow answers 204", cpu("nginx-204")),
    ]
    for name in fronts:
        rows.append(Row(f"{name} CPU/request", spread(samples, name, "us"), unit="us"))
    bench.complete(fronts["agent"])
    return rows + with_replayer(bench, upstream, shadow, fronts)


def with_replayer(bench, upstream, shadow, fronts, rate=3000):
    """A mirror also sends to the shadow; here the replayer does. Both together, at a rate that
    all sides hold, for who wants to compare the whole."""
    from parts import h2load

    topic = bench.kafka().topic()
    agent = bench.agent(upstream, "--responses", "off", log=topic, name="agent-live")
    replayer = bench.replay("--log", topic, "--target", shadow.url, "--live", wait=False)

    def side(part, also=()):
        return lambda seconds: cost(
            bench, part, settle=1.0 if also else 0.3, also=also,
            load=lambda: h2load(bench, part.url, seconds, connections=32, rate=rate, http1=True))

    samples = alternate(bench, {
        "nginx": side(fronts["nginx"]), "envoy": side(fronts["envoy"]), "agent": side(agent, [replayer])},
        seconds=min(bench.seconds, 2), rounds=min(bench.rounds, 3))
    for sample in samples["agent"]:
        sample["us.both"] = sample["us"] + sample["us.replayer"]
    result = replayer.stop() or {}
    bench.say(f"replayer: {result.get('targets')}")
    rows = [Row(f"CPU/request at {rate}/s, agent / {other}", ratio(samples, "agent", other, "us"))
            for other in ("nginx", "envoy")]
    for other in ("nginx", "envoy"):
        together = [a["us.both"] / b["us"] for a, b in zip(samples["agent"], samples[other])]
        rows.append(Row(f"CPU/request at {rate}/s, agent + live replayer / {other}", together))
    rows[0].samples = samples
    return rows
