"""A real process of a bench: started, measured from /proc, frozen, ended."""

import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Part:
    """A process with its children. Its output goes to a file."""

    def __init__(self, name, argv, log, env=None, port=None, scheme="http", stdout=None):
        self.name = name
        self.port = port
        self.scheme = scheme
        self.log = pathlib.Path(log)
        self._seen = {}
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=out,
                env=env, preexec_fn=_die_with_parent)
        self.pid = self.process.pid

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def alive(self):
        return self.process.poll() is None

    def output(self):
        return self.log.read_text(errors="replace")

    def pids(self):
        """This process and all its descendants."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    queue += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except OSError:
                pass
        return found

    def cpu(self):
        """Seconds of CPU so far: of each thread what the scheduler counted, in nanoseconds.

        A thread that has ended keeps what was last seen of it, so sums never go back."""
        return self.cpu_of()

    def cpu_of(self, thread=None):
        """The same, of the threads whose name begins with `thread`."""
        for pid in self.pids():
            try:
                tasks = os.listdir(f"/proc/{pid}/task")
            except OSError:
                continue
            for task in tasks:
                try:
                    base = f"/proc/{pid}/task/{task}/"
                    name = pathlib.Path(base + "comm").read_text().strip()
                    self._seen[pid, task] = (name, int(pathlib.Path(base + "schedstat").read_text().split()[0]))
                except (OSError, IndexError):
                    pass
        return sum(ns for name, ns in self._seen.values() if thread is None or name.startswith(thread)) / 1e9

    def cpu_by_thread(self):
        """Seconds of CPU so far by name of thread."""
        self.cpu()
        by = {}
        for name, ns in self._seen.values():
            by[name] = by.get(name, 0) + ns / 1e9
        return by

    def times(self):
        """(user, system) seconds of CPU so far, to 10 ms: what ended threads took is in it."""
        user = system = 0
        for pid in self.pids():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                user, system = user + int(fields[11]), system + int(fields[12])
            except OSError:
                pass
        tick = os.sysconf("SC_CLK_TCK")
        return user / tick, system / tick

    def _status(self, field):
        total = 0
        for pid in self.pids():
            try:
                for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(field + ":"):
                        total += int(line.split()[1]) * 1024
            except OSError:
                pass
        return total

    def rss(self):
        """Resident bytes now, children included."""
        return self._status("VmRSS")

    def peak(self):
        """Most resident bytes since the start or the last reset_peak()."""
        return self._status("VmHWM")

    def reset_peak(self):
        for pid in self.pids():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    def signal(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def stop(self, patience=20):
        """Ends it, with force after `patience` seconds; returns its exit code."""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                for pid in reversed(self.pids()):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
        return self.process.wait()


class Foreign(Part):
    """A process that somebody else started and will end, such as a broker: measured and frozen only."""

    def __init__(self, name, pid, log):
        self.name, self.pid, self.log = name, pid, pathlib.Path(log)
        self.port, self.scheme, self._seen = None, "http", {}

    @property
    def alive(self):
        return os.path.exists(f"/proc/{self.pid}")

    def stop(self, patience=20):
        self.thaw()


def wait_for(what, condition, patience=30, part=None):
    """Waits until `condition` holds; raises if it does not, or when `part` has ended."""
    deadline = time.monotonic() + patience
    while not condition():
        if part is not None and not part.alive:
            raise RuntimeError(f"{what}: it ended: {part.output()[-1500:]}")
        if time.monotonic() > deadline:
            tail = part.output()[-1500:] if part is not None else ""
            raise RuntimeError(f"{what}: not within {patience} s {tail}")
        time.sleep(0.01)
