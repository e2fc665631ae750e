"""How the agent's cost grows with connections and with the size of bodies."""

import random

from parts import Row, alternate, cost, h2load, ratio, spread, wrk

CONNECTIONS = [1, 8, 64, 512]
BODIES = [0, 1024, 64 << 10, 1 << 20]
RATES = {0: 2000, 1024: 2000, 64 << 10: 400, 1 << 20: 40}
NAMES = {0: "no body", 1024: "1 KB", 64 << 10: "64 KB", 1 << 20: "1 MB"}


def run(bench):
    kafka = bench.kafka()
    return connections(bench, kafka) + bodies(bench, kafka)


def connections(bench, kafka):
    upstream = bench.upstream(size=1024)
    fronts = {"nginx": bench.nginx_proxy(upstream),
              "agent": bench.agent(upstream, "--responses", "off", log=kafka.topic())}

    def side(part, count):
        return lambda seconds: cost(bench, part, lambda: wrk(bench, part.url, seconds, connections=count))

    samples = alternate(bench, {f"{name} {count}": side(part, count) for count in CONNECTIONS for name, part in fronts.items()},
                        seconds=min(bench.seconds, 1))
    bench.complete(fronts["agent"])
    rows = [Row("CPU/request at 512 connections / at 64, agent", ratio(samples, "agent 512", "agent 64", "us"),
                goal=1.1, least=1.25, samples=samples),
            Row("CPU/request at 512 connections / at 64, nginx", ratio(samples, "nginx 512", "nginx 64", "us"))]
    for count in CONNECTIONS:
        rows.append(Row(f"CPU/request at {count} connections, agent", spread(samples, f"agent {count}", "us"), unit="us"))
        rows.append(Row(f"CPU/request at {count} connections, agent / nginx",
                        ratio(samples, f"agent {count}", f"nginx {count}", "us")))
    return rows


def bodies(bench, kafka):
    """Requests with bodies, all recorded whole, at rates that the broker holds. What a byte costs
    is the slope from 64 KB to 1 MB; time in the kernel (its copies) is told apart from that of the
    process itself."""
    answer = bench.upstream(size=100, name="answer")
    # Reads the whole body before it answers.
    upstream = bench.nginx("reader", (
        "listen 127.0.0.1:{port}; client_max_body_size 1g; client_body_buffer_size 2m; location / { "
        f"proxy_pass http://127.0.0.1:{answer.port}; proxy_pass_request_body off; "
        'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Content-Length ""; }'))
    recording = bench.agent(upstream, "--responses", "off", log=kafka.topic(), name="recording")
    off = bench.agent(upstream, "--responses", "off", "--percent", "0", log=kafka.topic(), name="off")
    # Text that compresses about as JSON does, not one letter.
    rng = random.Random(7)
    text = b"".join(b'{"id":%09d},' % rng.randrange(10**9) for _ in range(BODIES[-1] // 17 + 1))

    def side(part, size):
        def load(seconds):
            return h2load(bench, part.url, seconds, connections=8, rate=RATES[size], http1=True,
                          body=text[:size] if size else None, headers=("content-type: application/json",))

        def run_one(seconds):
            before = part.times()
            sample = cost(bench, part, lambda: load(seconds), settle=0.5)
            user, system = (now - start for now, start in zip(part.times(), before))
            sample["user_us"], sample["system_us"] = (1e6 * t / sample["requests"] for t in (user, system))
            return sample
        return run_one

    sides = {f"{part.name} {size}": side(part, size) for size in BODIES for part in (recording, off)}
    samples = alternate(bench, sides, seconds=min(bench.seconds, 1))
    result = recording.stop()
    off.stop()
    bench.say(f"recording: {result}")
    big, small = BODIES[-1], BODIES[-2]

    def slope(name, key):
        return [1e3 * (b[key] - a[key]) / (big - small) for a, b in zip(samples[f"{name} {small}"], samples[f"{name} {big}"])]

    added = [a - b for a, b in zip(slope("recording", "us"), slope("off", "us"))]
    # The threads of librdkafka compress and send; what is left is the agent's own.
    def own(sample):
        return sum(us for name, us in sample["threads_us"].items() if not name.startswith("rdk:"))

    beside = [1e3 * ((own(b) - own(a)) - (own(d) - own(c))) / (big - small) for a, b, c, d in zip(
        *(samples[f"{name} {size}"] for name in ("recording", "off") for size in (small, big)))]
    lost = f"of {result['requests']} requests {result['recorded']} recorded, lost {result['lost']}"
    rows = [
        Row("CPU of the process for each byte of a body, recording", slope("recording", "user_us"), goal=1.0, unit="ns",
            samples=samples, note=lost),
        Row("CPU of all kinds for each byte, recording - recording nothing", added, unit="ns"),
        Row("the same without librdkafka's threads (lz4, sending)", beside, unit="ns"),
        Row("CPU in the kernel for each byte of a body, recording", slope("recording", "system_us"), unit="ns"),
        Row("CPU of the process for each byte, recording nothing", slope("off", "user_us"), unit="ns"),
        Row("CPU in the kernel for each byte, recording nothing", slope("off", "system_us"), unit="ns"),
    ]
    for size in BODIES:
        rows.append(Row(f"CPU/request with {NAMES[size]}, agent recording", spread(samples, f"recording {size}", "us"), unit="us"))
        rows.append(Row(f"CPU/request with {NAMES[size]}, recording / recording nothing",
                        ratio(samples, f"recording {size}", f"off {size}", "us")))
    return rows
