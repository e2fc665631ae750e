"""S13: HTTP/2 and gRPC through the agent, beside Envoy without a mirror."""

from parts import Row, alternate, cost, h2load, ratio, spread

TITLE = "h2 with 100 streams and gRPC unary: agent recording into Kafka / Envoy without mirror, throughput"
GOAL = ">= 1.0x"
LEAST = ">= 1.0x"
CONNECTIONS = 4
STREAMS = 100
# A gRPC message: not compressed, of so many bytes.
MESSAGE = b"\x00" + (128).to_bytes(4, "big") + bytes(range(128))
GRPC = ("content-type: application/grpc", "te: trailers")


def run(bench):
    upstream = nghttpd(bench)
    kafka = bench.kafka()
    fronts = {
        "envoy": bench.envoy(upstream, http2=True),
        "agent": bench.agent(upstream, "--responses", "off", log=kafka.topic(), scheme="h2c"),
        "off": bench.agent(upstream, "--responses", "off", "--percent", "0", log=kafka.topic(), scheme="h2c", name="off"),
    }
    loads = {
        "h2, 100 streams, 1 KB": dict(path="/1k"),
        "gRPC unary": dict(path="/bench.Echo/Unary", body=MESSAGE, headers=GRPC),
    }
    rows = []
    for title, load in loads.items():
        bench.say(title)
        samples = alternate(bench, {name: side(bench, part, **load) for name, part in fronts.items()},
                            seconds=min(bench.seconds, 2))
        rows += [
            Row(f"{title}: throughput, agent / Envoy", ratio(samples, "agent", "envoy", "per_second"), goal=1.0, more=True,
                samples=samples),
            Row(f"{title}: throughput, agent recording nothing / Envoy", ratio(samples, "off", "envoy", "per_second"), more=True),
            Row(f"{title}: CPU/request, agent / Envoy", ratio(samples, "agent", "envoy", "us")),
            Row(f"{title}: Envoy CPU/request", spread(samples, "envoy", "us"), unit="us"),
            Row(f"{title}: agent CPU/request", spread(samples, "agent", "us"), unit="us"),
        ]
    bench.complete(fronts["agent"])
    return rows


def side(bench, part, path, body=None, headers=()):
    def run_one(seconds):
        return cost(bench, part, lambda: h2load(bench, part.url + path, seconds, connections=CONNECTIONS,
                                                streams=STREAMS, body=body, headers=headers))
    return run_one


def nghttpd(bench):
    """nghttp2's own server, h2c, one thread: as small as an upstream of HTTP/2 can be. To a POST
    it answers with the file of that name, and with the trailer that ends a gRPC call."""
    root = bench.tmp / "h2"
    (root / "bench.Echo").mkdir(parents=True)
    (root / "1k").write_bytes(b"x" * 1024)
    (root / "bench.Echo/Unary").write_bytes(MESSAGE)
    types = bench.tmp / "mime.types"
    types.write_text("application/grpc\n")
    return bench._start_on_port("nghttpd", lambda port: [
        "nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", root, "-m", 256, "-n", 1,
        "--mime-types-file", types, "--trailer", "grpc-status: 0", port])
