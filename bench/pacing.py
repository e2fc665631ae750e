#!/usr/bin/env python3
"""Replays a 60 s recording at 10x (or as told) and says how exact it was.

Starts a real nginx as production and shadow, records a load of random spacing through
an agent, replays it, and compares the schedule with what happened: lag of each send as
the replayer counts it, and the error of the whole duration. Prints a table; the raw
results go to bench/results. Everything runs on loopback and ends by itself.
"""

import argparse
import asyncio
import datetime
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, patience=30):
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.02)


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


async def load(port, seconds, rate, connections):
    """An open loop of exponentially spaced GETs over so many connections."""
    rng = random.Random(1)
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    locks = [asyncio.Lock() for _ in streams]

    async def one(number):
        reader, writer = streams[number % connections]
        async with locks[number % connections]:
            writer.write(f"GET /p/{number} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)

    start, due, number, tasks = time.monotonic(), 0.0, 0, []
    while due < seconds:
        await asyncio.sleep(max(0, start + due - time.monotonic()))
        tasks.append(asyncio.create_task(one(number)))
        number += 1
        due += rng.expovariate(rate)
    await asyncio.gather(*tasks)
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--speeds", default="1,10")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--umbra", default=str(ROOT / "target/release/umbra"))
    args = parser.parse_args()
    running = []
    with tempfile.TemporaryDirectory() as tmp:
        try:
            rows = run(args, pathlib.Path(tmp), running)
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(timeout=30)
    name = datetime.datetime.now().strftime("%Y-%m-%d-%H%M") + "-pacing.json"
    out = ROOT / "bench/results" / name
    out.write_text(json.dumps({"arguments": vars(args) | {"umbra": "umbra"}, "rows": rows}, indent=1) + "\n")
    print(f"{'speed':>6} {'sent':>7} {'span s':>8} {'took s':>8} {'error %':>8} "
          f"{'lag p50 ms':>11} {'p99 ms':>8} {'max ms':>8}")
    for row in rows:
        print(f"{row['speed']:>6} {row['sent']:>7} {row['span_s']:>8.2f} {row['duration_s']:>8.2f} "
              f"{row['error_percent']:>8.3f} {row['lag_ms']['p50']:>11.3f} "
              f"{row['lag_ms']['p99']:>8.3f} {row['lag_ms']['max']:>8.2f}")


def run(args, tmp, running):
    port = free_port()
    (tmp / "nginx.conf").write_text(
        f"daemon off; pid {tmp}/pid; error_log stderr; events {{}} http {{ access_log off; "
        f"keepalive_requests 1000000; client_body_temp_path {tmp}/1; proxy_temp_path {tmp}/2; "
        f"fastcgi_temp_path {tmp}/3; uwsgi_temp_path {tmp}/4; scgi_temp_path {tmp}/5; "
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}")
    running.append(subprocess.Popen(["nginx", "-c", tmp / "nginx.conf", "-p", tmp], stderr=subprocess.DEVNULL))
    wait_for("nginx", lambda: answers(port))
    log, ready = tmp / "log", tmp / "ready.json"
    agent = subprocess.Popen([args.umbra, "capture", "--listen", "127.0.0.1:0", "--upstream",
                              f"http://127.0.0.1:{port}", "--log", log, "--ready-file", ready],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running.append(agent)
    wait_for("the agent", ready.exists)
    listen = json.loads(ready.read_text())["listen"][0]
    sent = asyncio.run(load(int(listen.split(":")[1]), args.seconds, args.rate, args.connections))
    agent.send_signal(signal.SIGTERM)
    agent.wait(timeout=60)
    running.remove(agent)
    info = json.loads(subprocess.check_output([args.umbra, "log", "info", log, "-o", "json"]))
    assert info["requests"] == sent, info
    instant = lambda text: datetime.datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()
    span = instant(info["last"]) - instant(info["first"])
    rows = []
    for speed in args.speeds.split(","):
        result = subprocess.run([args.umbra, "replay", "--log", log, "--target", f"http://127.0.0.1:{port}",
                                 "--allow-production", "--speed", speed, "--order", "free", "-o", "json"],
                                capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout.splitlines()[-1])
        wanted = span / float(speed)
        rows.append({
            "speed": speed, "sent": report["targets"]["shadow"]["sent"], "span_s": wanted,
            "duration_s": report["duration_s"], "lag_ms": report["lag_ms"],
            "error_percent": 100 * (report["duration_s"] - wanted) / wanted,
        })
        assert rows[-1]["sent"] == sent, report
    return rows


if __name__ == "__main__":
    main()
