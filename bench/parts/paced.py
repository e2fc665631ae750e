"""A client that sends at exact instants over HTTP/1.1 and takes each request's time.

The load tools at hand do not serve here: wrk has no rate, and h2load lets all its connections
send at the same instant, so that its latencies are those of bursts. Here each request is due at
an instant of its own and, at the rates used, mostly alone on the way.
"""

import ctypes
import gc
import socket
import time

from .load import Load

PR_SET_TIMERSLACK = 29


def paced(bench, part, seconds, rate, connections=16):
    """GETs at `rate` over connections taken in turns; latency from the send to the last byte."""
    bench.command([f"(paced GETs in bench/parts/paced.py: {rate}/s over {connections} connections, {seconds:g} s)"])
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{part.port}\r\nUser-Agent: paced\r\n\r\n".encode()
    sockets = [_open(part.port) for _ in range(connections)]
    length = _exchange(sockets[0], request, None)
    taken, late = [], 0
    count = round(seconds * rate)
    gc.disable()
    try:
        start = time.perf_counter() + 0.01
        for number in range(count):
            due = start + number / rate
            ahead = due - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.001:
                late += 1
            begun = time.perf_counter()
            _exchange(sockets[number % connections], request, length)
            taken.append(time.perf_counter() - begun)
        took = time.perf_counter() - start
    finally:
        gc.enable()
        for each in sockets:
            each.close()
    taken.sort()
    load = Load(count, took, taken[count // 2] * 1e3, taken[count * 99 // 100] * 1e3)
    load.output = f"{late} of {count} sent more than 1 ms late"
    return load


def _open(port):
    each = socket.create_connection(("127.0.0.1", port), timeout=20)
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return each


def _exchange(connection, request, length):
    """One request and its answer, of `length` bytes (found out if None)."""
    connection.sendall(request)
    data = connection.recv(65536)
    if length is None:
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"no 200: {head[:200]}")
        body = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        total = len(head) + 4 + body
        missing = body - len(rest)
    else:
        total, missing = length, length - len(data)
    while missing > 0:
        more = connection.recv(65536)
        if not more:
            raise RuntimeError("the connection was closed")
        missing -= len(more)
    if missing < 0:
        raise RuntimeError("more bytes than an answer has")
    return total
