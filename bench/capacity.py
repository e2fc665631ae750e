#!/usr/bin/env python3
"""From what one request costs to agents, brokers, disks, partitions and replayers.

    bench/capacity.py            prints the tables
    bench/capacity.py --write    puts them into docs/capacity.md
    bench/capacity.py --check    says whether they are the ones in there
    bench/capacity.py --rate 250000 [--answers no] [--codec zstd] [--retention 72h] …

The constants are in bench/constants.json, each with the run it is from."""

import argparse
import json
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/capacity.md"
CONSTANTS = ROOT / "bench/constants.json"
RATES = [10_000, 100_000, 1_000_000]


def up(x):
    # What is whole but for the last digit of a float is whole.
    return math.ceil(round(x, 6))


def plan(rate, c, o):
    """All that is needed for so many requests a second."""
    value = {name: one["value"] for name, one in c.items()}
    answers = "_answers" if o.answers else ""
    usable = o.cores * o.busy
    replayers = up(rate * o.speed * value["replayer_cpu_us"] / 1e6 / usable)
    per_request = value[f"{o.codec}{answers}_bytes" if o.codec != "none" else f"record{answers}_bytes"]
    # Each replica of a job gets at least so many partitions, so that the one with one more
    # has little more to do.
    partitions = max(12, o.spread * replayers)
    interval = max(5.0, 0.005 * partitions)
    for_marks = o.cores * partitions / interval * value["mark_agent_cpu_us"] / 1e6
    agents = up(rate * value[f"agent_cpu{answers}_us"] / 1e6 / (usable - for_marks))
    marks = agents * o.cores * partitions / interval
    written = rate * per_request + marks * value["mark_bytes"]
    stored = written * o.retention * o.copies
    by = {
        "disks": stored / (o.disk * o.fill),
        "network": (written * o.copies + written * o.speed * o.shadows) / o.network,
        # Followers fetch in large pieces: reckoned as half of taking a request in.
        "CPU": (rate * (value["broker_write_cpu_us"] * (1 + (o.copies - 1) / 2)
                        + value["broker_read_cpu_us"] * o.speed * o.shadows) / 1e6
                + marks * value["mark_broker_cpu_us"] / 1e6) / usable,
        "partitions": partitions * o.copies / 4000,
    }
    brokers, why = max((up(by[name]), name) for name in by)
    if brokers < o.copies:
        brokers, why = o.copies, "copies"
    return {
        "agents": agents, "agents_gib": agents * value["agent_mib"] / 1024,
        "replayers": replayers * o.shadows, "replayers_gib": replayers * o.shadows * value["replayer_mib"] / 1024,
        "partitions": partitions, "written": written, "stored": stored,
        "brokers": brokers, "why": why, "marks": marks,
        "marks_share": marks * value["mark_bytes"] / written, "interval": interval,
    }


def human(bytes_):
    for unit in ["B", "KB", "MB", "GB", "TB"]:
        if bytes_ < 1000 or unit == "TB":
            return f"{bytes_:.3g} {unit}" if bytes_ < 1000 else f"{bytes_:,.0f} {unit}"
        bytes_ /= 1000
    raise AssertionError


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def sizes(c, o, rates):
    heads = ["requests/s", "recorded", "agents", "brokers (by)", "partitions", "written", "a day, "
             f"{o.copies} copies", "replayers", "Marks"]
    rows = []
    for rate in rates:
        for answers in ([False, True] if o.answers is None else [o.answers]):
            one = argparse.Namespace(**{**vars(o), "answers": answers})
            p = plan(rate, c, one)
            rows.append([
                f"{rate:,}", "with answers" if answers else "requests",
                f"{p['agents']:,} ({human(p['agents_gib'] * 2**30)})",
                f"{p['brokers']:,} ({p['why']})", f"{p['partitions']:,}",
                f"{human(p['written'])}/s", human(p["stored"] * 86400 / o.retention),
                f"{p['replayers']:,} ({human(p['replayers_gib'] * 2**30)})",
                f"{p['marks']:,.0f}/s, {p['marks_share'] * 100:.1f} %",
            ])
    return table(heads, rows)


def marks(c, o):
    """What Marks cost by agents, lanes and partitions."""
    rows = []
    for agents, lanes, partitions in [(10, 4, 12), (10, 4, 1000), (100, 4, 100), (100, 4, 1000),
                                      (1000, 4, 1000), (1000, 4, 10_000)]:
        interval = max(5.0, 0.005 * partitions)
        a_second = agents * lanes * partitions / interval
        rows.append([f"{agents:,}", str(lanes), f"{partitions:,}", f"{interval:g} s", f"{a_second:,.0f}/s",
                     f"{human(a_second * c['mark_bytes']['value'])}/s",
                     f"{a_second * c['mark_broker_cpu_us']['value'] / 1e6:.1f}"])
    return table(["agents", "lanes each", "partitions", "every", "Marks", "each copy grows by",
                  "cores of the brokers"], rows)


def constants(c):
    rows = [[f"`{name}`", one["what"], f"{one['value']:g} {one['unit']}", f"`{one['source']}`"]
            for name, one in c.items()]
    return table(["constant", "what", "value", "run"], rows)


def page(c, o):
    """The page with the tables as they are now."""
    text = PAGE.read_text()
    for name, content in [("sizes", sizes(c, o, RATES)), ("marks", marks(c, o)), ("constants", constants(c))]:
        begin, end = f"<!-- {name}: bench/capacity.py --write -->\n", f"\n<!-- end of {name} -->"
        head, rest = text.split(begin)
        text = head + begin + content + end + rest.split(end.strip(), 1)[1]
    return text


def seconds(text):
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rate", type=int, help="requests a second")
    parser.add_argument("--answers", type=lambda text: text == "yes", help="yes|no: answers are recorded")
    parser.add_argument("--codec", choices=["none", "lz4", "zstd"], default="lz4")
    parser.add_argument("--retention", type=seconds, default="24h")
    parser.add_argument("--cores", type=int, default=4, help="of a machine of each kind")
    parser.add_argument("--busy", type=float, default=0.6, help="how busy they may be")
    parser.add_argument("--copies", type=int, default=3, help="replicas of a partition")
    parser.add_argument("--disk", type=float, default=4e12, help="bytes of disk of a broker")
    parser.add_argument("--fill", type=float, default=0.8, help="how full disks may be")
    parser.add_argument("--network", type=float, default=6e8, help="bytes a second of a broker")
    parser.add_argument("--speed", type=float, default=1.0, help="of the replay")
    parser.add_argument("--shadows", type=int, default=1, help="jobs that replay all of it at once")
    parser.add_argument("--spread", type=int, default=8, help="partitions for each replica of a job")
    o = parser.parse_args()
    c = json.loads(CONSTANTS.read_text())
    if o.write or o.check:
        now = page(c, parser.parse_args([]))
        if o.write:
            PAGE.write_text(now)
        elif now != PAGE.read_text():
            sys.exit("docs/capacity.md is not what bench/constants.json says: run bench/capacity.py --write")
        return
    print(sizes(c, o, [o.rate] if o.rate else RATES))
    print()
    print(marks(c, o))


if __name__ == "__main__":
    main()
