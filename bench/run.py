#!/usr/bin/env python3
"""Runs the cases it is given (none: all), prints one table and keeps every sample.

`scripts/bench` installs what is needed and calls this. Exit code 1 if a case failed to run;
a goal that was not reached is shown, not an error.
"""

import argparse
import datetime
import importlib
import json
import os
import pathlib
import platform
import resource
import signal
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from parts import Bench  # noqa: E402
from parts.bench import ROOT, goreplay_path  # noqa: E402
from parts.load import have_oha  # noqa: E402
from parts.profile import Profile  # noqa: E402

CASES = [f"S{number}" for number in range(1, 14)]


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("case", nargs="*", help="S1 to S13; none: all")
    parser.add_argument("--quick", action="store_true", help="short rounds: to see that it runs, not for numbers")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (5; with --quick 2)")
    parser.add_argument("--seconds", type=float, help="of each round of each side (3; with --quick 1)")
    parser.add_argument("--umbra", default=os.environ.get("UMBRA_BIN", str(ROOT / "target/release/umbra")))
    parser.add_argument("--output", type=pathlib.Path, help="where the results are kept (default bench/results/…-bench.json)")
    parser.add_argument("--profile", type=pathlib.Path, metavar="FILE",
                        help="write where the CPU of each process went, as perf sees it, to this file; keep no results")
    parser.add_argument("--table", type=pathlib.Path, metavar="FILE", help="print the table of these results and end")
    parser.add_argument("--markdown", action="store_true", help="the table in Markdown")
    parser.add_argument("--list", action="store_true", help="say what the cases are and end")
    args = parser.parse_args()
    names = [name.upper() for name in args.case] or CASES
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)} (S1 to S13)")
    if args.table:
        print_table(json.loads(args.table.read_text()), args.markdown)
        return 0
    if args.list:
        for name in names:
            print(f"{name:>4}  {load_case(name).TITLE}")
        return 0
    if not os.access(args.umbra, os.X_OK):
        parser.error(f"no binary at {args.umbra}: scripts/bench builds it, or name one with --umbra")
    allow_many_files()
    # A case's parts are ended on the way out of its block, whatever the reason.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    return run(args, names)


def allow_many_files(wanted=65536):
    """An agent with 10,000 clients needs a descriptor for each and one for its upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    for limits in ((wanted, max(wanted, hard)), (hard, hard)):
        try:
            return resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        except (OSError, ValueError):
            pass  # Only root may raise the hard limit.


def load_case(name):
    return importlib.import_module(f"cases.s{int(name[1:]):02}")


def run(args, names):
    started = datetime.datetime.now()
    results = {"started": started.isoformat(timespec="seconds"), "quick": args.quick,
               "umbra": describe_umbra(args.umbra), "versions": versions(), "machine": machine(), "cases": []}
    output = args.output or ROOT / "bench/results" / started.strftime("%Y-%m-%d-%H%M-bench.json")
    busy = os.getloadavg()[0]
    if busy > os.cpu_count() / 2:
        print(f"scripts/bench: something else is running (load average {busy:.1f}): expect wide spreads", file=sys.stderr)
    if args.profile:
        output = pathlib.Path(os.devnull)
        args.profile.write_text("")
    for name in names:
        results["cases"].append(run_case(args, name))
        results["ended"] = datetime.datetime.now().isoformat(timespec="seconds")
        output.write_text(json.dumps(results, indent=1, default=str) + "\n")  # What is done is kept.
    print_table(results, args.markdown)
    took = (datetime.datetime.now() - started).total_seconds()
    print(f"\n{took / 60:.1f} min; {'profile' if args.profile else 'raw results'}: {os.path.relpath(args.profile or output)}")
    return 1 if any("failed" in case for case in results["cases"]) else 0


def run_case(args, name):
    """The case's rows, or why it has none; a case of several PARTS keeps those of the others."""
    result = {"case": name, "load_before": os.getloadavg(), "rows": [], "commands": []}
    begun = time.monotonic()
    failed, traces = [], []
    try:
        case = load_case(name)
        result |= {"title": case.TITLE, "goal": case.GOAL, "least": case.LEAST}
        print(f"{name}: {case.TITLE}", file=sys.stderr, flush=True)
        parts = getattr(case, "PARTS", [case])
    except Exception as error:
        failed.append(f"{type(error).__name__}: {error}")
        parts = []
    for part in parts:
        with Bench(args.umbra, quick=args.quick, seconds=args.seconds or (1.0 if args.quick else 3.0),
                   rounds=args.rounds or (2 if args.quick else 5)) as bench:
            try:
                rows = profiled(args.profile, name, part, bench) if args.profile else part.run(bench)
                result["rows"] += [row.to_json() for row in rows]
            except Exception as error:  # One case must not stop the others.
                failed.append(f"{type(error).__name__}: {error}")
                traces.append(traceback.format_exc())
                print(f"    FAILED: {failed[-1]}", file=sys.stderr, flush=True)
        result["commands"] += bench.commands
    if failed:
        result |= {"failed": "; ".join(failed), "trace": traces}
    result["seconds"] = round(time.monotonic() - begun, 1)
    result["load_after"] = os.getloadavg()
    print(f"    {name} took {result['seconds']} s", file=sys.stderr, flush=True)
    return result


def profiled(path, name, part, bench):
    """Runs the part; what its processes did is added to the file."""
    with Profile(bench.tmp) as profile:
        rows = part.run(bench)
    names = {pid: part.name for part in bench.parts for pid in part.pids()}
    with path.open("a") as out:
        out.write(f"## {name}: {part.__doc__.splitlines()[0].removeprefix(name + ': ')}\n\n{profile.read(names)}\n")
    return rows


def print_table(results, markdown=False):
    heads = ["case", "what is compared", "median", "low .. high", "goal", "least", "verdict"]
    lines = [line for case in results["cases"] for line in table_lines(case)]
    if markdown:
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for line in lines:
            print("| " + " | ".join(line) + " |")
        return
    widths = [max(len(line[column]) for line in [heads, *lines] if len(line) == len(heads)) for column in range(len(heads))]
    print()
    for line in [heads, *lines]:
        cells = [cell.rjust(width) if column in (2, 4, 5) else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
    for case in results["cases"]:
        for row in case["rows"]:
            if row["note"]:
                print(f"{case['case']}, {row['what']}: {row['note']}")


def table_lines(case):
    for row in case["rows"]:
        sign = "\u2265" if row["better"] == "more" else "\u2264"
        goal, least = ("" if row[key] is None else f"{sign} {row[key]:g}" for key in ("goal", "least"))
        yield [case["case"], row["what"], number(row["median"]) + unit(row),
               f"{number(row['low'])} .. {number(row['high'])}", goal, least, row["verdict"]]
    if "failed" in case:
        yield [case["case"], "FAILED: " + " ".join(case["failed"].split())[:120], "", "", "", "", "failed"]


def number(value):
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:,.0f}"


def unit(row):
    return "x" if row["unit"] == "x" else " " + row["unit"]


# --- where it ran ---

def said(*argv):
    """The first line a program says, or nothing if it is not there."""
    try:
        result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20, check=False)
        return ((result.stdout + result.stderr).strip().splitlines() or [""])[0]
    except OSError:
        return None


def versions():
    oha = have_oha()
    kafka = next((line.split(":-")[1].rstrip("}") for line in (ROOT / "scripts/kafka").read_text().splitlines()
                  if line.startswith("version=")), None)
    gor = goreplay_path()
    return {
        "nginx": said("nginx", "-v"), "wrk": said("wrk", "-v"), "h2load": said("h2load", "--version"),
        "nghttpd": said("nghttpd", "--version"), "envoy": _words(said(ROOT / ".cache/venv/bin/envoy", "--version")),
        "goreplay": gor and _module_version(gor), "kafka": kafka, "oha": oha and said(oha, "--version"),
        "curl": said("curl", "--version"), "python": platform.python_version()}


def _words(line):
    return line and line.split()[-1]


def _module_version(program):
    try:
        lines = subprocess.run(["go", "version", "-m", program], capture_output=True, text=True, check=False).stdout
    except OSError:
        return "unknown"
    return next((line.split()[2] for line in lines.splitlines() if line.strip().startswith("mod")), "unknown")


def describe_umbra(path):
    commit = said("git", "-C", ROOT, "describe", "--always", "--dirty")
    return {"version": said(path, "version"), "commit": commit,
            "built": datetime.datetime.fromtimestamp(os.path.getmtime(path)).isoformat(timespec="seconds")}


def machine():
    processor = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {"cores": os.cpu_count(), "processor": processor, "memory_mib": memory, "kernel": platform.release()}


if __name__ == "__main__":
    sys.exit(main())
