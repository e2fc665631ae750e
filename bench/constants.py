#!/usr/bin/env python3
"""Measures what bench/capacity.py reckons with: CPU of agent, brokers and replayer per
request, bytes per request on the brokers' disks with each compression, memory.

    bench/constants.py [--umbra PATH] [--seconds N] [--connections N] [--codecs lz4,zstd] [--no-replay]

Starts nginx as production and as shadow, Kafka by scripts/kafka, and wrk as the clients,
all on loopback, and ends them. Requests differ: 1,000 paths, tokens of their own; answers
are 1,000 different JSON documents of 1 KB. The raw results go to bench/results; which of
them bench/constants.json takes is decided by hand, because a busy machine makes CPU times
larger."""

import argparse
import datetime
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, condition, patience=60):
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.05)


def cpu_seconds(pid):
    """User and system time of a process with all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid, what="VmRSS"):
    status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in status if line.startswith(what))
    return int(line.split()[1]) / 1024


def documents(directory):
    """Answers like those of a shop: words repeat, numbers and names do not."""
    rng = random.Random(1)
    words = "order item price stock open sent paid carton green small large spare part".split()
    directory.mkdir()
    for number in range(1000):
        items = []
        while len(json.dumps(items)) < 940:
            items.append({
                "sku": f"{rng.getrandbits(40):010x}",
                "name": " ".join(rng.choices(words, k=3)),
                "price": rng.randrange(100, 99_999) / 100,
                "on": rng.random() < 0.5,
            })
        (directory / f"{number}.json").write_text(json.dumps({"id": number, "items": items}))


WRK = """
math.randomseed(os.time() + tonumber(tostring({}):sub(8), 16))
request = function()
  local n = math.random(0, 999)
  local token = string.format("%08x%08x", math.random(0, 2^31), math.random(0, 2^31))
  return wrk.format("GET", "/api/" .. n .. ".json?page=" .. math.random(1, 50), {
    ["Host"] = "shop.example",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    ["Accept"] = "application/json, text/plain, */*",
    ["Accept-Language"] = "en-US,en;q=0.5",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["X-Request-Id"] = token,
    ["Traceparent"] = "00-" .. token .. token .. "-" .. token .. "-01",
  })
end
"""


class Bench:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.processes = []

    def start(self, *command, **how):
        process = subprocess.Popen([str(word) for word in command], **how)
        self.processes.append(process)
        return process

    def end(self, process, patience=60):
        process.send_signal(signal.SIGTERM)
        process.wait(patience)

    def nginx(self):
        www = self.work / "www"
        documents(www)
        www.chmod(0o755)
        self.work.chmod(0o755)
        self.production, self.shadow = free_port(), free_port()
        configuration = self.work / "nginx.conf"
        configuration.write_text(f"""
worker_processes 1; pid {self.work}/nginx.pid; error_log {self.work}/nginx.log; daemon off;
events {{ worker_connections 2048; }}
http {{ access_log off; keepalive_requests 100000000; open_file_cache max=2000;
  server {{ listen 127.0.0.1:{self.production}; location /api/ {{ alias {www}/; }} }}
  server {{ listen 127.0.0.1:{self.shadow}; location / {{ return 204; }} }} }}""")
        self.start("nginx", "-c", configuration, stderr=subprocess.DEVNULL)
        wait_for("nginx", lambda: socket.socket().connect_ex(("127.0.0.1", self.shadow)) == 0)

    def kafka(self):
        directory = self.work / "kafka"
        out = subprocess.run([ROOT / "scripts/kafka", "start", "--dir", directory],
                             check=True, capture_output=True, text=True)
        self.broker, self.kafka_directory = out.stdout.strip().splitlines()[-1], directory
        pids = [int(path.read_text()) for path in directory.glob("**/*.pid")]
        self.broker_pid = pids[0] if pids else None

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                self.end(process)
        if hasattr(self, "kafka_directory"):
            subprocess.run([ROOT / "scripts/kafka", "stop", "--dir", self.kafka_directory], check=False)

    def on_disk(self, topic):
        logs = self.kafka_directory.glob(f"**/{topic}-*/*.log")
        return sum(path.stat().st_size for path in logs)

    def capture(self, name, codec, responses):
        """One agent under load; says what a request costs."""
        ready, topic = self.work / f"{name}.ready", f"t-{name}"
        agent = self.start(
            self.options.umbra, "capture", "--listen", "127.0.0.1:0", "--ready-file", ready,
            "--upstream", f"http://127.0.0.1:{self.production}", "--responses", responses,
            "--credentials", "keep", "--log", f"kafka://{self.broker}/{topic}",
            "--kafka", f"compression.type={codec}", "--spool", self.work / f"{name}.spool", "-o", "json",
            stdout=subprocess.PIPE, stderr=open(self.work / f"{name}.log", "w"))
        wait_for("the agent", ready.exists)
        listen = json.loads(ready.read_text())["listen"][0]
        idle = resident_mib(agent.pid)
        script = self.work / "load.lua"
        script.write_text(WRK)
        before = [cpu_seconds(agent.pid), self.broker_pid and cpu_seconds(self.broker_pid)]
        subprocess.run(["wrk", "-t1", f"-c{self.options.connections}", f"-d{self.options.seconds}s",
                        "-s", script, f"http://{listen}"], check=True, stdout=subprocess.DEVNULL)
        busy = resident_mib(agent.pid, "VmHWM")
        time.sleep(2)
        after = [cpu_seconds(agent.pid), self.broker_pid and cpu_seconds(self.broker_pid)]
        self.end(agent)
        result = json.loads(agent.stdout.read().splitlines()[-1])
        requests = result["requests"]
        return {
            "codec": codec, "responses": responses, "requests": requests,
            "lost": result["lost"], "seconds": self.options.seconds,
            "agent_cpu_us": (after[0] - before[0]) / requests * 1e6,
            "broker_cpu_us": (after[1] - before[1]) / requests * 1e6 if self.broker_pid else None,
            "disk_bytes": self.on_disk(topic) / result["recorded"],
            "agent_idle_mib": idle, "agent_peak_mib": busy, "topic": topic,
        }

    def marks(self, partitions):
        """An agent without requests, for 30 s: Marks are all that it writes."""
        topic, ready = f"marks-{partitions}", self.work / f"marks-{partitions}.ready"
        subprocess.run([ROOT / "scripts/kafka", "tool", "TopicCommand", "--bootstrap-server", self.broker,
                        "--create", "--topic", topic, "--partitions", str(partitions),
                        "--replication-factor", "1"], check=True, capture_output=True)
        agent = self.start(
            self.options.umbra, "capture", "--listen", "127.0.0.1:0", "--ready-file", ready, "--threads", "2",
            "--upstream", f"http://127.0.0.1:{self.production}", "--credentials", "keep",
            "--log", f"kafka://{self.broker}/{topic}", "--spool", self.work / f"{topic}.spool",
            stdout=subprocess.DEVNULL, stderr=open(self.work / f"{topic}.log", "w"))
        wait_for("the agent", ready.exists)
        time.sleep(12)
        before = self.on_disk(topic), cpu_seconds(agent.pid), cpu_seconds(self.broker_pid)
        time.sleep(30)
        after = self.on_disk(topic), cpu_seconds(agent.pid), cpu_seconds(self.broker_pid)
        self.end(agent)
        return {"partitions": partitions, "lanes": 2, "marks": 2 * partitions * 6,
                "bytes": after[0] - before[0], "agent_cpu_s": after[1] - before[1],
                "broker_cpu_s": after[2] - before[2]}

    def replay(self, topic):
        before = self.broker_pid and cpu_seconds(self.broker_pid)
        replayer = self.start(
            self.options.umbra, "replay", "--log", f"kafka://{self.broker}/{topic}", "--rate", "max",
            "--target", f"http://127.0.0.1:{self.shadow}", "-o", "json",
            stdout=subprocess.PIPE, stderr=open(self.work / "replay.log", "w"))
        peak, cpu = 0, 0
        while replayer.poll() is None:
            try:
                peak, cpu = max(peak, resident_mib(replayer.pid, "VmHWM")), cpu_seconds(replayer.pid)
            except (FileNotFoundError, StopIteration):
                pass
            time.sleep(0.02)
        result = json.loads(replayer.stdout.read().splitlines()[-1])
        sent = sum(target["sent"] for target in result["targets"].values())
        broker = self.broker_pid and (cpu_seconds(self.broker_pid) - before) / sent * 1e6
        return {"topic": topic, "sent": sent, "duration_s": result["duration_s"],
                "replayer_cpu_us": cpu / sent * 1e6, "broker_read_cpu_us": broker,
                "replayer_peak_mib": peak}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--umbra", default=ROOT / "target/release/umbra")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--codecs", default="none,lz4,zstd")
    parser.add_argument("--no-replay", dest="replay", action="store_false")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="umbra-constants-"))
    bench = Bench(options, work)
    try:
        bench.nginx()
        bench.kafka()
        runs = []
        for codec in options.codecs.split(","):
            for responses in ["off", "full"]:
                runs.append(bench.capture(f"{codec}-{responses}", codec, responses))
                print(json.dumps(runs[-1]), flush=True)
        replays = []
        for run in runs if options.replay else []:
            if run["codec"] != "lz4":
                continue
            topic = run["topic"]
            replays.append(bench.replay(topic))
            print(json.dumps(replays[-1]), flush=True)
        marks = [bench.marks(partitions) for partitions in [2, 400]]
        print(json.dumps(marks), flush=True)
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    version = subprocess.run([str(options.umbra), "version"], capture_output=True, text=True).stdout
    out = ROOT / f"bench/results/{now:%Y-%m-%d-%H%M}-constants.json"
    out.write_text(json.dumps({"version": version.strip(), "cores": os.cpu_count(),
                               "load": os.getloadavg(), "capture": runs, "replay": replays,
                               "marks": marks}, indent=1) + "\n")
    print(out.relative_to(ROOT))


if __name__ == "__main__":
    main()
