#!/usr/bin/env python3
"""A shadow that notes when each request arrived: the kernel's own stamp of its last byte.

The kernel stamps what arrives at a socket (SO_TIMESTAMPNS) before anybody is woken up, so
that neither this program's speed nor its turn on a busy machine is part of the number.
Started by parts.arrivals; prints its port, ends on SIGTERM. `GET /arrivals` gives what was
noted (so many numbers, then so many times, 8 bytes each) and forgets it, `GET /count` how
many there are.
"""

import array
import gc
import re
import select
import socket
import struct
import time

STAMP = getattr(socket, "SO_TIMESTAMPNS", 35)
MOST = 4_000_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Receiver:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        # Inherited by what it accepts, so that the first bytes have a stamp too.
        self.listener.setsockopt(socket.SOL_SOCKET, STAMP, 1)
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.open = {}
        self.unstamped = 0
        self.numbers, self.stamps = array.array("q"), array.array("q")

    def run(self):
        print(self.listener.getsockname()[1], flush=True)
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.listener.fileno():
                    self.accept()
                else:
                    self.read(fd)

    def accept(self):
        connection, _ = self.listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.poll.register(connection, select.EPOLLIN)
        # The connection, the head so far, bytes of a body that are still to come, its number.
        self.open[connection.fileno()] = [connection, b"", 0, 0]

    def read(self, fd):
        state = self.open[fd]
        try:
            data, ancillary, _, _ = state[0].recvmsg(65536, 64)
        except ConnectionError:
            data = b""
        if not data:
            self.poll.unregister(fd)
            state[0].close()
            del self.open[fd]
            return
        stamp = 0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == STAMP:
                seconds, nanoseconds = struct.unpack("ll", value[:16])
                stamp = seconds * 1_000_000_000 + nanoseconds
        if not stamp:
            self.unstamped += 1
            stamp = time.time_ns()
        self.take(state, data, stamp)

    def take(self, state, data, stamp):
        if state[2]:
            state[2] -= len(data)
        else:
            head, end, body = (state[1] + data).partition(b"\r\n\r\n")
            if not end:
                state[1] = head
                return
            state[1] = b""
            path = head.split(b" ", 2)[1]
            if path == b"/arrivals":
                return self.tell(state[0], self.numbers.tobytes() + self.stamps.tobytes(), forget=True)
            if path == b"/count":
                return self.tell(state[0], str(len(self.numbers)).encode())
            if path == b"/unstamped":
                return self.tell(state[0], str(self.unstamped).encode())
            length = LENGTH.search(head)
            state[2] = (int(length[1]) if length else 0) - len(body)
            state[3] = int(path.rsplit(b"/", 1)[-1]) if path.startswith(b"/p/") else -1
        if state[2] == 0:
            if len(self.numbers) < MOST:
                self.numbers.append(state[3])
                self.stamps.append(stamp)
            try:
                state[0].send(ANSWER)
            except ConnectionError:
                pass  # The next read tells.

    def tell(self, connection, body, forget=False):
        connection.setblocking(True)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        if forget:
            del self.numbers[:], self.stamps[:]


if __name__ == "__main__":
    gc.disable()
    Receiver().run()
