"""S9: a 20 MiB upload while everything behind the tee stands still."""

import threading
import time

from parts import Row, Spread
from parts.bench import Failed

TITLE = "20 MiB upload with everything behind the tee frozen / the healthy time"
GOAL = "<= 1.1x"
LEAST = "1.1x"
SIZE = 20 << 20
UPLOADS = 5  # In each state of each round.
PAUSE = 0.25
ENVOY_FREEZE = 3.0


def run(bench):
    # Reads the whole body before it answers, as an application does.
    answer = bench.upstream(size=1024, name="answer")
    reader = bench.nginx("reader", (
        "listen 127.0.0.1:{port}; client_max_body_size 1g; client_body_buffer_size 32m; location / { "
        f"proxy_pass http://127.0.0.1:{answer.port}; proxy_pass_request_body off; "
        'proxy_set_header Content-Length ""; }'))
    kafka = bench.kafka()
    flags = ("--responses", "off", "--max-body", "32MiB")
    spooled = bench.agent(reader, *flags, log=kafka.topic(), name="spool")
    unspooled = bench.agent(reader, *flags, "--spool", "off", "--memory", "64MiB", log=kafka.topic(), name="no-spool")
    shadow = bench.upstream(size=1024, name="shadow")
    envoy = bench.envoy(reader, mirror=shadow)
    body = bench.tmp / "body"
    body.write_bytes(bytes(range(256)) * (SIZE // 256))

    def upload(part):
        line = bench.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", "-H", "Expect:",
                          "-H", "Content-Type: application/octet-stream", "--data-binary", f"@{body}", part.url])
        status, taken = line.split()
        if status != "200":
            raise Failed(f"upload through {part.name}: status {status}")
        # With a pause the cores are free again of what is done behind the tee: what is measured
        # is whether the upload waits for it.
        time.sleep(PAUSE)
        return float(taken)

    for part in (spooled, unspooled, envoy):
        upload(part)
    healthy = {part.name: [] for part in (spooled, unspooled, envoy)}
    frozen = {part.name: [] for part in (spooled, unspooled, envoy)}
    for number in range(bench.rounds):
        for part in (spooled, unspooled):
            healthy[part.name].append([upload(part) for _ in range(UPLOADS)])
            time.sleep(1.0)  # What was recorded goes to Kafka before it is frozen.
            kafka.part.freeze()
            try:
                # The first upload fills what is behind the tee; it counts like the others.
                frozen[part.name].append([upload(part) for _ in range(UPLOADS)])
            finally:
                kafka.part.thaw()
            time.sleep(1.0)
        if number < 2:
            healthy[envoy.name].append([upload(envoy) for _ in range(UPLOADS)])
            frozen[envoy.name].append([during_freeze(shadow, lambda: upload(envoy))])
        brief = ", ".join(f"{name} {min(healthy[name][-1]):.3f} -> {max(frozen[name][-1]):.3f} s" for name in healthy)
        bench.say(f"round {number + 1}/{bench.rounds}: best healthy -> worst frozen: {brief}")

    def row(part, what, **bounds):
        # A single upload of 50 ms is noise: the median of all against the median of all, with the
        # rounds' own ratios as the spread.
        values = [middle(slow) / middle(quick) for slow, quick in zip(frozen[part.name], healthy[part.name])]
        pooled = middle(sum(frozen[part.name], [])) / middle(sum(healthy[part.name], []))
        return Row(what, Spread(values, pooled), samples={"healthy_s": healthy[part.name], "frozen_s": frozen[part.name]}, **bounds)

    rows = [
        row(spooled, "upload, Kafka frozen (spool on disk) / healthy", goal=1.1),
        row(unspooled, "upload, Kafka frozen and no spool / healthy", goal=1.1),
        row(envoy, f"upload, Envoy's shadow frozen for {ENVOY_FREEZE:g} s / healthy"),
        Row("upload, healthy, agent", [middle(each) for each in healthy["spool"]], unit="s"),
        Row("upload, healthy, Envoy mirror", [middle(each) for each in healthy[envoy.name]], unit="s"),
    ]
    result = spooled.stop()
    rows[0].note = f"spool: {result}; no spool: {unspooled.stop()}"
    if result["recorded"] != result["requests"]:
        raise Failed(f"with a spool nothing may be lost: {result}")
    return rows


def during_freeze(part, action):
    """Runs `action` while `part` stands still for ENVOY_FREEZE seconds."""
    part.freeze()
    thaw = threading.Timer(ENVOY_FREEZE, part.thaw)
    thaw.start()
    try:
        return action()
    finally:
        thaw.join()
        time.sleep(0.5)


def middle(values):
    return sorted(values)[len(values) // 2]
