"""S5: appending 1 KB records to Kafka, beside Kafka's own ProducerPerformance."""

import json
import random
import re
import resource
import subprocess

from parts import Row, alternate, ratio, spread
from parts.bench import Failed
from parts.logs import example

TITLE = "append of 1 KB records to Kafka, acks=all, lz4, the same batches / kafka-producer-perf-test"
GOAL = ">= 1.2x"
LEAST = "1.0x"

PARTITIONS = 12
# As an agent with more than four capture threads has.
PRODUCERS = 2
# What Umbra's producer has: 90 % of the topic's max.message.bytes, and a queue of 16 MiB.
SAME = {"batch.size": 943_730, "linger.ms": 5, "buffer.memory": 16 << 20}
# Kafka's client counts what it has compressed, librdkafka what it was given: with this its batches
# hold about as many of these records as ours, 800.
AS_MANY = SAME | {"batch.size": 360_000}
# What Kafka's own guides advise for throughput.
TUNED = {"batch.size": 131_072, "linger.ms": 10, "buffer.memory": 64 << 20}
# As kafka-producer-perf-test.sh starts it; the serial collector of scripts/kafka is off.
JAVA = "-Xmx512m -server -XX:TieredStopAtLevel=4 -XX:-UseSerialGC -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Djava.awt.headless=true"
# ProducerPerformance tells its first window after 5 s; what is after it is compared, so that
# neither the JVM's warm-up nor anybody's first metadata is part of the number.
WARM_S = 5.0


def run(bench):
    kafka = bench.kafka(log_segment_delete_delay_ms=500, log_retention_check_interval_ms=1000)
    payloads = bench.tmp / "payloads"
    payloads.write_text("\n".join(records(4096)) + "\n")
    topics = []

    def topic():
        name = kafka.topic().rsplit("/", 1)[1]
        topics.append(name)
        return name

    # So long that as much again is measured as is left out.
    seconds = WARM_S + bench.scaled(3)

    def umbra(count, partitions=PARTITIONS, producers=PRODUCERS):
        address = f"kafka://{kafka.brokers}/{topic()}"
        written, read, broker_s = append_and_read(bench, kafka.part, [
            example(bench, "bench_kafka"), address, payloads, count, partitions, f"linger.ms={SAME['linger.ms']}",
            f"producers={producers}"])
        first = next((seen for seen in written["durable"] if seen[0] >= WARM_S), written["durable"][0])
        return told(count, written["seconds"], first[0], first[1]) | {
            "us": written["cpu_s"] / count * 1e6, "broker_us": broker_s / count * 1e6,
            "read_per_second": read["read"] / read["seconds"], "durable": written["durable"]}

    def java(settings, count, partitions=PARTITIONS):
        name = topic()
        kafka.tool("TopicCommand", "--bootstrap-server", kafka.brokers, "--create", "--topic", name,
                   "--partitions", partitions, "--replication-factor", 1)
        broker, before = kafka.part.cpu(), used()
        out = kafka.tool(
            "ProducerPerformance", "--topic", name, "--throughput", "-1", "--num-records", count,
            "--payload-file", payloads, "--producer-props", f"bootstrap.servers={kafka.brokers}", "acks=all",
            "enable.idempotence=true", "compression.type=lz4", *(f"{k}={v}" for k, v in settings.items()), java=JAVA)
        lines = [(int(n), float(rate)) for n, rate in re.findall(r"^(\d+) records sent, ([\d.]+) records/sec", out, re.M)]
        total, rate = lines[-1]
        if total != count:
            raise RuntimeError(f"ProducerPerformance sent {total} of {count}: {out[-500:]}")
        # Its windows end a little after 5 s: how long the first took follows from its rate.
        first = lines[0] if len(lines) > 1 else (0, 1.0)
        return told(count, count / rate, first[0] / first[1], first[0]) | {
            "us": (used() - before) / count * 1e6, "broker_us": (kafka.part.cpu() - broker) / count * 1e6,
            "windows": lines}

    def clear():
        kafka.tool("TopicCommand", "--bootstrap-server", kafka.brokers, "--delete", "--topic", "|".join(topics))
        topics.clear()

    # How many records fill the time; the broker is warm afterwards. Before that the first to come
    # would pay for its compiler.
    probe = 100_000 if bench.quick else 300_000
    if not bench.quick:
        java(SAME, 3 * probe)
        umbra(3 * probe)
    counts = {"umbra": umbra(probe)["whole_per_second"], "same": java(SAME, probe)["whole_per_second"]}
    counts["tuned"] = counts["as many"] = counts["same one"] = counts["same"]
    counts["umbra one"] = counts["umbra single"] = counts["umbra"]
    clear()

    def side(name, what):
        def one(_):
            sample = what(max(probe, int(counts[name] * seconds)))
            # The JVM is faster when it is warm: the next round is made to last.
            counts[name] = max(counts[name], sample["per_second"])
            clear()
            return sample
        return one

    samples = alternate(bench, {
        "umbra": side("umbra", umbra), "same": side("same", lambda count: java(SAME, count)),
        "umbra single": side("umbra single", lambda count: umbra(count, producers=1)),
        "as many": side("as many", lambda count: java(AS_MANY, count)),
        "tuned": side("tuned", lambda count: java(TUNED, count)),
        "umbra one": side("umbra one", lambda count: umbra(count, 1)),
        "same one": side("same one", lambda count: java(SAME, count, 1))},
        rounds=min(bench.rounds, 1 if bench.quick else 3), warm_up=False)
    return [
        Row("records/s / ProducerPerformance, same settings", ratio(samples, "umbra", "same", "per_second"),
            goal=1.2, least=1.0, more=True, samples=samples,
            note="both after their first 5 s; Umbra has two producers that share 16 MiB, and spreads over 12 "
                 "partitions record by record; ProducerPerformance has one, compresses while it appends, fills one "
                 "batch after the other, and its batch.size and memory count compressed bytes"),
        Row("records/s / ProducerPerformance, same settings, one producer", ratio(samples, "umbra single", "same", "per_second"),
            more=True, note="what an agent with up to four capture threads has"),
        Row("records/s / ProducerPerformance, as many records in a batch", ratio(samples, "umbra", "as many", "per_second"),
            more=True),
        Row("records/s / ProducerPerformance, 128 KiB batches, linger 10 ms", ratio(samples, "umbra", "tuned", "per_second"),
            more=True),
        Row("records/s / ProducerPerformance, same settings, one partition", ratio(samples, "umbra one", "same one", "per_second"),
            more=True, note="what the partitioner decides is left out: both fill one batch after the other"),
        Row("CPU per record of the producer / ProducerPerformance, one partition", ratio(samples, "umbra one", "same one", "us")),
        Row("CPU per record of the producer / ProducerPerformance", ratio(samples, "umbra", "same", "us"),
            note="of the whole process, the JVM's start and warm-up included"),
        Row("CPU per record of the broker / ProducerPerformance", ratio(samples, "umbra", "same", "broker_us")),
        Row("Umbra", spread(samples, "umbra", "per_second"), unit="records/s", more=True),
        Row("Umbra, one producer", spread(samples, "umbra single", "per_second"), unit="records/s", more=True),
        Row("ProducerPerformance, same settings", spread(samples, "same", "per_second"), unit="records/s", more=True),
        Row("Umbra, one partition", spread(samples, "umbra one", "per_second"), unit="records/s", more=True),
        Row("ProducerPerformance, one partition", spread(samples, "same one", "per_second"), unit="records/s", more=True),
        Row("ProducerPerformance, 128 KiB batches, linger 10 ms", spread(samples, "tuned", "per_second"),
            unit="records/s", more=True),
        Row("Umbra reads them with a group", spread(samples, "umbra", "read_per_second"), unit="records/s", more=True),
    ]


def append_and_read(bench, broker, argv):
    """What it says of appending and of reading, and the broker's CPU seconds for the first."""
    bench.command(argv)
    before = broker.cpu()
    with subprocess.Popen([str(each) for each in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=bench.env) as process:
        try:
            # The first line comes when all is durable, before anything is read.
            written = process.stdout.readline()
            after = broker.cpu()
            read, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    if process.returncode != 0:
        raise Failed(f"bench_kafka ended with {process.returncode}: {errors[-800:]}")
    return json.loads(written), json.loads(read), after - before


def told(count, seconds, warm_s, warm_count):
    """The rate behind the first part, and that of the whole."""
    whole = count / seconds
    behind = seconds - warm_s
    steady = (count - warm_count) / behind if behind > 1.0 else whole
    return {"records": count, "seconds": seconds, "per_second": steady, "whole_per_second": whole,
            "left_out_s": warm_s if behind > 1.0 else 0.0}


def used():
    """CPU seconds of children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def records(count, size=1024):
    """What traffic looks like: a head that repeats, values that do not; lz4 packs it to about a half."""
    rng = random.Random(5)
    head = ("POST /api/v1/orders?page=2&size=50 HTTP/1.1 host: shop.example.com user-agent: Mozilla/5.0 "
            "(X11; Linux x86_64) AppleWebKit/537.36 accept: */* content-type: application/json x-request-id: ")
    for _ in range(count):
        text = f"{head}{rng.getrandbits(128):032x} "
        while len(text) < size:
            text += f'{{"sku":"A-{rng.randrange(100000):05}","price":{rng.randrange(10000)},"qty":{rng.randrange(7)}}},'
        yield text[:size]
