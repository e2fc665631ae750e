"""S10, the replayer's part: the most memory it takes at full rate."""

from parts import Row
from parts.logs import make_log, replayed, settled


def run(bench):
    target = bench.upstream(size=2, name="target")
    kafka = bench.kafka()
    total = 20 << 20 if bench.quick else 100 << 20
    rows = []
    for name, log, size in (
            ("embedded log, 1 KB requests", bench.tmp / "small", 1024), ("Kafka, 1 KB requests", kafka.topic(), 1024),
            ("embedded log, 64 KB requests", bench.tmp / "large", 65536), ("Kafka, 64 KB requests", kafka.topic(), 65536)):
        count = total // size
        make_log(bench, log, requests=count, size=size)
        samples = []
        for _ in range(1 if bench.quick else 2):
            result, cost = replayed(bench, "--log", log, "--target", target.url, "--rate", "max")
            settled(result, count)
            samples.append(cost | {"per_second": count / result["duration_s"]})
        rows.append(Row(f"replayer at full rate, {name}", [sample["peak_bytes"] / 1e6 for sample in samples],
                        goal=100, unit="MB", samples=samples))
    return rows
