"""Where the CPU of a case's processes goes: samples of `perf`, by process, thread, kind of work
and function. It slows what it looks at a little, so a run with it gives no numbers."""

import collections
import re
import shutil
import signal
import subprocess

from .bench import Failed

EVERY_S = 1 / 499
FUNCTIONS = 25
LEAST_SHARE = 0.005

# The first that matches a function says what kind of work it is.
KINDS = [
    ("lz4", re.compile(r"LZ4|XXH")),
    ("checksum", re.compile(r"crc32", re.IGNORECASE)),
    ("librdkafka", re.compile(r"^_?rd_|^rdk_|^cnd_|^mtx_|^rdkafka|^<rdkafka|mpsc")),
    ("memory: allocating", re.compile(r"^_?mi_|malloc|^cfree|calloc|realloc|alloc::")),
    ("memory: copying", re.compile(r"mem(cpy|move|set|cmp)")),
    ("locks, wake-ups", re.compile(r"pthread_(mutex|cond)|futex|___pthread")),
    ("Umbra", re.compile(r"umbra")),
    ("tokio, mio", re.compile(r"tokio|\bmio\b")),
    ("hyper, h2, http", re.compile(r"hyper|\bh2::|\bhttp")),
    ("encoding, hashing", re.compile(r"prost|xxhash|bytes::")),
]


class Profile:
    """A context manager around a case; `read` says what was found."""

    def __init__(self, directory):
        if shutil.which("perf") is None:
            raise Failed("there is no perf: install it (Debian: apt-get install linux-perf)")
        self.directory = directory

    def __enter__(self):
        self._data = self.directory / "perf.data"
        # Of the whole machine: processes come and go.
        self._perf = subprocess.Popen(
            ["perf", "record", "--quiet", "--all-cpus", "--freq", str(round(1 / EVERY_S)), "--output", self._data],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait(timeout=60)

    def read(self, names):
        """What the processes `{pid: name}` did."""
        found = subprocess.Popen(
            ["perf", "script", "--input", self._data, "--fields", "comm,pid,ip,sym,dso"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
        by_name = collections.defaultdict(collections.Counter)
        for line in found.stdout:
            sample = parse(line)
            if sample and sample[0] in names:
                by_name[names[sample[0]]][sample[1:]] += 1
        found.wait()
        return "\n".join(section(name, samples) for name, samples in by_name.items())


LINE = re.compile(r"^\s*(?P<thread>.+?)\s+(?P<pid>\d+)\s+[0-9a-f]+ (?P<symbol>.*) \((?P<dso>[^()]*)\)\s*$")


def parse(line):
    """(pid, thread, function, whether it is the kernel's) of a line of `perf script`."""
    match = LINE.match(line)
    if match is None:
        return None
    kernel = match["dso"].startswith("[kernel") or match["dso"].startswith("[guest")
    function = re.sub(r"::h[0-9a-f]{16}$", "", match["symbol"].strip())
    return int(match["pid"]), re.sub(r"[-:#]?\d+$", "", match["thread"]), function, kernel


def kind_of(function, kernel):
    if kernel:
        return "the kernel"
    return next((kind for kind, pattern in KINDS if pattern.search(function)), "other")


def section(name, samples):
    """Of the processes of one name."""
    total = sum(samples.values())
    lines = [f"### {name}: {total * EVERY_S:.1f} s of CPU", ""]
    for title, key in (("thread", lambda thread, function, kernel: thread),
                       ("kind of work", lambda thread, function, kernel: kind_of(function, kernel))):
        sums = collections.Counter()
        for sample, count in samples.items():
            sums[key(*sample)] += count
        shares = (f"{what} {count / total:.1%}" for what, count in sums.most_common() if count >= total * LEAST_SHARE)
        lines.append(f"by {title}: " + ", ".join(shares))
    if name.startswith("kafka"):
        return "\n".join([*lines, ""])  # What a virtual machine compiled has no names.
    lines.append("")
    for (thread, function, kernel), count in samples.most_common(FUNCTIONS):
        if count >= total * LEAST_SHARE:
            lines.append(f"    {count / total:6.1%}  {thread:<16} {'[kernel] ' if kernel else ''}{function[:120]}")
    return "\n".join([*lines, ""])
