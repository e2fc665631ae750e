"""S3: what recording adds to a request, beside what GoReplay takes to listen to it."""

from parts import Row, alternate, cost, h2load, spread
from parts.bench import Failed

TITLE = "what capture adds (on - off, CPU per request) / GoReplay's passive capture at the same rate"
GOAL = "requests only <= 0.4x"
LEAST = "0.8x"
RATE = 10_000


def run(bench):
    upstream = bench.upstream(size=1024)
    nginx = bench.nginx_proxy(upstream)
    kafka = bench.kafka()
    off = bench.agent(upstream, "--responses", "off", "--percent", "0", log=kafka.topic(), name="off")
    requests = bench.agent(upstream, "--responses", "off", log=kafka.topic(), name="requests")
    answers = bench.agent(upstream, "--responses", "full", log=kafka.topic(), name="answers")

    def load(part, seconds):
        return h2load(bench, part.url, seconds, connections=64, rate=RATE, http1=True)

    def agent(part):
        return lambda seconds: cost(bench, part, lambda: load(part, seconds))

    heard = {"sent": 0, "kept": 0}

    def goreplay(*flags):
        def side(seconds):
            # A new one each time: its file is read afterwards, and nothing else runs beside it.
            out = bench.tmp / "recorded.gor"
            out.unlink(missing_ok=True)
            gor = bench.goreplay("--input-raw", f"127.0.0.1:{nginx.port}", "--output-file", out,
                                 "--output-file-append", "--output-file-size-limit", "4gb", *flags)
            try:
                wait_until_listening(gor)
                sample = cost(bench, gor, lambda: load(nginx, seconds))
            finally:
                gor.stop()
            if not out.exists():
                raise Failed(f"GoReplay recorded nothing: {gor.output()[-500:]}")
            data = out.read_bytes()
            sample["kept"] = data.count(b"\nGET / HTTP/1.1\r\n")
            out.unlink()
            heard["sent"] += sample["requests"]
            heard["kept"] += sample["kept"]
            return sample
        return side

    samples = alternate(bench, {
        "off": agent(off), "requests": agent(requests), "answers": agent(answers),
        "goreplay": goreplay(), "goreplay-answers": goreplay("--input-raw-track-response")})

    def added(side, peer):
        return [(on["us"] - off["us"]) / gor["us"]
                for on, off, gor in zip(samples[side], samples["off"], samples[peer])]

    def plus(side):
        return [on["us"] - off["us"] for on, off in zip(samples[side], samples["off"])]

    note = f"GoReplay kept {heard['kept']} of {heard['sent']} requests"
    bench.say(note)
    rows = [
        Row("added by recording requests / GoReplay", added("requests", "goreplay"), goal=0.4, least=0.8,
            samples=samples, note=note),
        Row("added by recording answers too / GoReplay with answers", added("answers", "goreplay-answers")),
        Row("added by recording answers too / GoReplay, requests only", added("answers", "goreplay")),
        Row("added by recording requests", plus("requests"), unit="us"),
        Row("added by recording answers too", plus("answers"), unit="us"),
        Row("GoReplay CPU/request", spread(samples, "goreplay", "us"), unit="us"),
        Row("GoReplay CPU/request, with answers", spread(samples, "goreplay-answers", "us"), unit="us"),
    ]
    bench.complete(requests, answers)
    return rows


def wait_until_listening(gor):
    """GoReplay listens once it has opened its packet socket."""
    import os

    from parts.process import wait_for

    def open_packet_socket():
        inodes = {line.split()[-1] for line in open("/proc/net/packet").read().splitlines()[1:]}
        for fd in os.listdir(f"/proc/{gor.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{gor.pid}/fd/{fd}")
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                return True
        return False

    wait_for("GoReplay", open_packet_socket, part=gor)
