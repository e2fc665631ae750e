"""Starts and ends what a case needs: servers, proxies, the agent, the replayer, Kafka."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from . import settings
from .process import Foreign, Part, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Failed(Exception):
    """What a case needs is not there, or did not do what it should: the case has no number."""


class Bench:
    """One case's surroundings; a context manager that leaves nothing behind."""

    def __init__(self, umbra, quick=False, seconds=3.0, rounds=5, quiet=False):
        self.umbra = str(umbra)
        self.quick, self.seconds, self.rounds, self.quiet = quick, seconds, rounds, quiet
        self.commands = []
        self._names = {}
        self.parts = []

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="umbra-bench."))
        self._stack.callback(shutil.rmtree, self.tmp, ignore_errors=True)
        # Keys and spools of a user are not touched.
        self.env = os.environ | {
            "HOME": str(self.tmp / "home"), "XDG_STATE_HOME": str(self.tmp / "state"),
            "XDG_CONFIG_HOME": str(self.tmp / "config"), "XDG_DATA_HOME": str(self.tmp / "data")}
        (self.tmp / "home").mkdir()
        return self

    def __exit__(self, *_):
        self._stack.close()

    # --- what every case uses ---

    def say(self, text):
        if not self.quiet:
            print(f"    {text}", file=sys.stderr, flush=True)

    def scaled(self, seconds):
        """So many seconds, or a tenth (at least 2) when only trying out."""
        return max(2.0, seconds / 10) if self.quick else seconds

    def command(self, argv):
        line = " ".join(map(str, argv)).replace(str(self.tmp), "TMP").replace(str(ROOT) + "/", "")
        line = line.replace(os.path.expanduser("~"), "~")
        if line not in self.commands:
            self.commands.append(line)

    def free_port(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def _named(self, name):
        self._names[name] = self._names.get(name, 0) + 1
        count = self._names[name]
        return name if count == 1 else f"{name}-{count}"

    def start(self, name, argv, ready=None, port=None, scheme="http", cls=Part, env=None, **more):
        """Starts a process; it is ready when `ready()` holds or its port answers."""
        self.command(argv)
        unique = self._named(name)
        part = cls(name, argv, self.tmp / f"{unique}.log", env=env or self.env, port=port, scheme=scheme, **more)
        self.parts.append(part)
        self._stack.callback(part.stop)
        if ready is None and port is not None:
            ready = lambda: answers(port)
        if ready is not None:
            wait_for(unique, ready, part=part)
        return part

    def _start_on_port(self, name, argv_for, **more):
        """With a free port that somebody else may take first: then with another."""
        for attempt in range(3):
            port = self.free_port()
            try:
                return self.start(name, argv_for(port), port=port, **more)
            except RuntimeError:
                if attempt == 2:
                    raise

    def run(self, argv, check=True, limit=600, env=None):
        """Runs a command to its end; returns its stdout."""
        self.command(argv)
        result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=limit,
                                env=env or self.env, check=False)
        if check and result.returncode != 0:
            raise Failed(f"{argv[0]} ended with {result.returncode}: {result.stdout[-500:]} {result.stderr[-1000:]}")
        return result.stdout

    # --- servers and proxies ---

    def nginx(self, name, body, workers=1, main="", http=""):
        """nginx with this server block; `{port}` in it is its port."""
        directory = self.tmp / self._named(f"nginx-{name}")
        directory.mkdir()

        def argv(port):
            (directory / "nginx.conf").write_text(
                settings.nginx(directory, body.replace("{port}", str(port)), workers, main, http))
            return ["nginx", "-c", directory / "nginx.conf", "-p", directory]

        return self._start_on_port(name, argv)

    def upstream(self, size=1024, status=200, name="upstream", workers=1, body_limit="1g"):
        """A static answer of `size` bytes to everything. A body sent to it is read and dropped."""
        answer = f"return {status}" + (f' "{"x" * size}"' if status != 204 else "")
        if size > 3000:
            root = self.tmp / self._named("root")
            root.mkdir()
            (root / "body").write_bytes(b"x" * size)
            answer = f"root {root}; try_files /body =404"
        return self.nginx(name, f"listen 127.0.0.1:{{port}} backlog=4096; client_max_body_size {body_limit}; "
                                f"default_type text/plain; location / {{ {answer}; }}", workers=workers)

    def nginx_proxy(self, upstream, mirror=None, name=None, http2=False):
        """nginx with proxy_pass, adding the headers the agent adds."""
        http, body = settings.nginx_proxy(upstream.port, mirror.port if mirror else None, http2)
        return self.nginx(name or ("nginx-mirror" if mirror else "nginx"), body, http=http)

    def envoy(self, upstream, mirror=None, name=None, http2=False):
        """Envoy with one worker; `http2`: h2c to its upstream. It takes HTTP/1 and h2c."""
        program = ROOT / ".cache/venv/bin/envoy"
        if not program.exists():
            raise Failed("Envoy is not installed: scripts/bench does that")
        name = name or ("envoy-mirror" if mirror else "envoy")
        path = self.tmp / f"{self._named(name)}.json"

        def argv(port):
            path.write_text(json.dumps(settings.envoy(port, upstream.port, mirror.port if mirror else None, http2)))
            return [program, "-c", path, "--concurrency", 1, "--disable-hot-restart", "--log-level", "error"]

        return self._start_on_port(name, argv)

    # --- Umbra ---

    def agent(self, upstream, *flags, log=None, name="agent", threads=1, scheme=None):
        """`umbra capture` in front of `upstream` (a Part or a URL); `log` defaults to a directory."""
        ready = self.tmp / f"{self._named(name)}.ready"
        url = upstream if isinstance(upstream, str) else (upstream.url if scheme is None else f"{scheme}://127.0.0.1:{upstream.port}")
        log = log or self.tmp / f"{ready.stem}-log"
        argv = [self.umbra, "capture", "--listen", "127.0.0.1:0", "--upstream", url, "--log", log, "--threads", threads,
                "--ready-file", ready, "-o", "json", "--log-level", "warn"]
        if not any(flag.startswith("--credentials") for flag in map(str, flags)):
            argv += ["--credentials", "keep"]
        part = self.start(name, [*argv, *flags], ready=ready.exists, cls=Agent)
        part.ready = json.loads(ready.read_text())
        part.port = int(part.ready["listen"][0].rsplit(":", 1)[1])
        part.log_address = str(log)
        return part

    def replay(self, *flags, wait=True, name="replayer", limit=600):
        """`umbra replay` with these flags. Waited for: its result; else the Part."""
        argv = [self.umbra, "replay", "--allow-production", "-o", "json", "--log-level", "warn", *flags]
        if not wait:
            return self.start(name, argv, cls=Agent)
        return json.loads(self.run(argv, limit=limit).splitlines()[-1])

    def complete(self, *agents):
        """Ends these agents and says what they recorded, for a note. Each must have recorded what
        it saw: a hundredth may be lost on a machine that is overloaded (it is said), no more, as
        a request that is not recorded costs less."""
        said = []
        for agent in agents:
            result = agent.stop() or {}
            requests, recorded = result.get("requests", 0), result.get("recorded", 0)
            said.append(f"{agent.name}: {recorded} of {requests} requests recorded, lost {result.get('lost')}")
            self.say(said[-1])
            if not requests or recorded < requests * 0.99:
                raise Failed(f"the agent lost records: {said[-1]}")
        return "; ".join(said)

    # --- others ---

    def kafka(self, java="-Xmx1g -XX:TieredStopAtLevel=4", version=None, **settings_of_broker):
        """A broker of its own, with the JVM's full compiler; ends with the case."""
        return Kafka(self, java, version, settings_of_broker)

    def goreplay(self, *flags, name="goreplay"):
        """GoReplay; its raw capture needs root."""
        program = goreplay_path()
        if program is None:
            raise Failed("GoReplay is not installed: scripts/bench does that")
        return self.start(name, [program, *flags])


class Agent(Part):
    """A process of ours: its last line on stdout is a result in JSON."""

    def __init__(self, name, argv, log, **more):
        self.result_file = pathlib.Path(str(log) + ".out")
        self.result = None
        with open(self.result_file, "wb") as out:
            super().__init__(name, argv, log, stdout=out, **more)

    def stop(self, patience=40):
        super().stop(patience)
        lines = self.result_file.read_text().splitlines() if self.result_file.exists() else []
        if self.result is None and lines:
            self.result = json.loads(lines[-1])
        return self.result


class Kafka:
    """One broker in a directory of its own."""

    def __init__(self, bench, java, version, broker):
        self.bench, self._topics = bench, 0
        self._env = os.environ | ({"UMBRA_KAFKA_VERSION": version} if version else {})
        self.dir = bench.tmp / bench._named("kafka")
        script = ROOT / "scripts/kafka"
        sets = [word for key, value in broker.items() for word in ("--set", f"{key.replace('_', '.')}={value}")]
        env = self._env | {"UMBRA_KAFKA_JAVA": java}
        bench._stack.callback(subprocess.run, [script, "stop", "--dir", self.dir], check=False, capture_output=True)
        self.brokers = bench.run([script, "start", "--dir", self.dir, *sets], env=env).split()[-1]
        self.part = Foreign("kafka", int((self.dir / "broker-1.pid").read_text()), self.dir / "broker-1.log")
        bench.parts.append(self.part)
        bench._stack.callback(self.part.thaw)

    def topic(self, name=None):
        """The address of a topic that does not exist yet."""
        self._topics += 1
        return f"kafka://{self.brokers}/{name or f'bench-{self._topics}'}"

    def tool(self, cls, *arguments, java="-Xmx1g -XX:TieredStopAtLevel=4", limit=300):
        """Runs a tool of Kafka; returns its output."""
        return self.bench.run([ROOT / "scripts/kafka", "tool", cls, *arguments], limit=limit,
                              env=self._env | {"UMBRA_KAFKA_JAVA": java})


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def goreplay_path():
    for candidate in (ROOT / ".cache/go/bin/goreplay", ROOT / ".cache/go/bin/gor", shutil.which("goreplay"), shutil.which("gor")):
        if candidate and pathlib.Path(candidate).exists():
            return str(candidate)
    return None
