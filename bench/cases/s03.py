"""S3: what recording adds to a request, beside what GoReplay takes to listen to it."""

import os

from parts import Row, alternate, cost, h2load, spread
from parts.bench import Failed
from parts.process import wait_for

TITLE = "what capture adds (on - off, CPU per request) / GoReplay's passive capture at the same rate"
GOAL = "requests only <= 0.4x"
LEAST = "0.8x"
RATE = 10_000
# The last Kafka that the client library of GoReplay's release can speak to.
OLD_KAFKA = "3.9.1"


def run(bench):
    upstream = bench.upstream(size=1024)
    kafka = bench.kafka()
    old_kafka = bench.kafka(version=OLD_KAFKA)
    agents = {
        "off": bench.agent(upstream, "--responses", "off", "--percent", "0", log=kafka.topic(), name="off"),
        "requests": bench.agent(upstream, "--responses", "off", log=kafka.topic(), name="requests"),
        "answers": bench.agent(upstream, "--responses", "full", log=kafka.topic(), name="answers"),
    }
    recording = bench.tmp / "recorded.gor"
    answers = ("--input-raw-track-response",)
    listeners = {
        "goreplay": Listener(bench, upstream, to_kafka(old_kafka, "requests")),
        "goreplay-answers": Listener(bench, upstream, (*to_kafka(old_kafka, "answers"), *answers)),
        "goreplay-file": Listener(bench, upstream, (
            "--output-file", recording, "--output-file-append", "--output-file-size-limit", "4gb")),
    }

    def agent(part):
        return lambda seconds: cost(bench, part, lambda: load(bench, part, seconds))

    samples = alternate(bench, {name: agent(part) for name, part in agents.items()}
                        | {name: listener.side for name, listener in listeners.items()})
    notes = [bench.complete(agents["requests"], agents["answers"])]
    for listener in listeners.values():
        listener.gor.stop()
    kept = {name: messages(old_kafka, topic) for name, topic in
            (("goreplay", "requests"), ("goreplay-answers", "answers"))}
    kept["goreplay-file"] = recording.read_bytes().count(b"\nGET / HTTP/1.1\r\n") if recording.exists() else 0
    for name, listener in listeners.items():
        notes.append(f"{name}: {kept[name]} records of {listener.sent} requests")
        bench.say(notes[-1])
        if kept[name] < listener.sent / 2:
            raise Failed(f"GoReplay did not record: {notes[-1]} {listener.gor.output()[-300:]}")
    return rows(samples, "; ".join(notes))


def rows(samples, note):
    def added(side, peer):
        return [(on["us"] - off["us"]) / gor["us"]
                for on, off, gor in zip(samples[side], samples["off"], samples[peer])]

    def plus(side):
        return [on["us"] - off["us"] for on, off in zip(samples[side], samples["off"])]

    return [
        Row("added by recording requests into Kafka / GoReplay into Kafka", added("requests", "goreplay"),
            goal=0.4, least=0.8, samples=samples, note=note),
        Row("added by recording answers too / GoReplay with answers", added("answers", "goreplay-answers")),
        Row("added by recording answers too / GoReplay, requests only", added("answers", "goreplay")),
        Row("added by recording requests into Kafka / GoReplay into a file", added("requests", "goreplay-file")),
        Row("added by recording requests", plus("requests"), unit="us"),
        Row("added by recording answers too", plus("answers"), unit="us"),
        Row("GoReplay into Kafka, CPU/request", spread(samples, "goreplay", "us"), unit="us"),
        Row("GoReplay into Kafka with answers, CPU/request", spread(samples, "goreplay-answers", "us"), unit="us"),
        Row("GoReplay into a file, CPU/request", spread(samples, "goreplay-file", "us"), unit="us"),
    ]


def load(bench, part, seconds):
    return h2load(bench, part.url, seconds, connections=64, rate=RATE, http1=True)


class Listener:
    """A GoReplay beside an nginx of its own."""

    def __init__(self, bench, upstream, flags):
        self.bench, self.sent = bench, 0
        self.nginx = bench.nginx_proxy(upstream)
        self.gor = bench.goreplay("--input-raw", f"127.0.0.1:{self.nginx.port}", *flags)
        wait_until_listening(self.gor)

    def side(self, seconds):
        sample = cost(self.bench, self.gor, lambda: load(self.bench, self.nginx, seconds))
        self.sent += sample["requests"]
        return sample


def to_kafka(kafka, topic):
    kafka.tool("TopicCommand", "--bootstrap-server", kafka.brokers, "--create", "--topic", topic, "--partitions", 12)
    return "--output-kafka-host", kafka.brokers, "--output-kafka-topic", topic


def messages(kafka, topic):
    said = kafka.tool("GetOffsetShell", "--bootstrap-server", kafka.brokers, "--topic", topic)
    return sum(int(line.split(":")[2]) for line in said.splitlines() if line.count(":") == 2)


def wait_until_listening(gor):
    """GoReplay listens once it has opened its packet socket."""
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
