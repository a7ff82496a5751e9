"""The fault simulator: a service in a process of its own that breaks at known times and says when it really did.

```
python faultsim.py < program       one JSON line: {"ports": [{...}, ...]}
  stdout  {"ports": [...]}         it listens
  stdin   {"go": t_ns}             the programs start at this CLOCK_MONOTONIC moment
  stdin   end of input             it stops
  stdout  {"acts": [...], "stalls": [...], "ports": [{"asked", "answered", "killed"}, ...]}
```
One port = one parallel lane: `service_ms` (an answer takes so long, default 0), `kill_every` (every n-th request of a
connection is lost with it, default never) and `program`, a list of `{"at_ms", "for_ms", "kind"}` in order of time.

An act `{"port", "kind", "down": [t, t], "up": [t, t]}` holds the true edges: CLOCK_MONOTONIC in ns, stamped before and
after each of the two deeds. What happens to a request is decided when all of it has arrived, by one thread: an answer
that was decided before `down[0]` is good, one decided after `down[1]` is not, and the same at the other end.
`stalls` are gaps in which this process itself was not running for more than 20 ms, [due, ran] in ns.

Own loop on epoll, without asyncio: a thousand fresh connections per second must cost little, because a simulator that is
late plants faults that nobody asked for. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import struct
import sys
from heapq import heappop, heappush
from time import monotonic_ns

MS = 1_000_000
BODY = b'{"planted":"good answer"}'
EVENTS = select.EPOLLIN | select.EPOLLRDHUP
HUGE = 100 * 1024 * 1024
ZEROS = bytes(65536)
TRICKLE_NS = 20 * MS
SLOW_ACCEPT_NS = 2000 * MS
BEAT_NS = 5 * MS
STALL_NS = 20 * MS
PORTS = (18_000, 32_000)
"""Below the range from which the kernel takes ports for dials: while we refuse, nobody may sit on ours."""


def reply(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


SAID = {
    "error": reply("503 Service Unavailable", b"no"),
    "wrong-body": reply("200 OK", b'{"planted":"another answer"}'),
    "html": reply("200 OK", b"<html><title>Log in</title></html>", "Content-Type: text/html"),
    "redirect": reply("302 Found", b"", "Location: /login"),
    "unauthorized": reply("401 Unauthorized", b'{"message":"You are signed out."}'),
    "rate-limited": reply("429 Too Many Requests", b'{"message":"You have been rate limited."}', "Retry-After: 1"),
}
"""Kinds that are a complete answer, and that answer."""

KINDS = (*SAID, "freeze", "refuse", "reset", "black-hole", "slow-accept", "trickle", "cut", "huge")


class Connection:
    """One accepted connection."""

    __slots__ = ("buffer", "closing", "lane", "open", "requests", "sock", "unsent")

    def __init__(self, lane: Lane, sock: socket.socket) -> None:
        self.lane, self.sock = lane, sock
        self.buffer = b""
        self.closing = False
        self.open = True
        self.requests = 0
        self.unsent = 0  # zeros that still have to follow

    def ready(self, mask: int) -> None:
        if mask & select.EPOLLIN:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self.buffer += data
            if self.buffer.endswith(b"\r\n\r\n"):
                head, self.buffer = self.buffer, b""
                self.closing = b"connection: close" in head.lower()
                self.requests += 1
                self.lane.decide(self)
        elif mask & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            self.close()
        elif self.unsent:
            self.pour()

    def say(self, data: bytes, *, end: bool = False) -> None:
        """Send a short answer, and close if the client wants that or `end`."""
        if not self.open:
            return
        try:
            self.sock.send(data)
        except OSError:
            self.close()
            return
        if end or self.closing:
            self.close()

    def pour(self) -> None:
        """Send zeros until the client has enough of them."""
        try:
            while self.unsent > 0:
                self.unsent -= self.sock.send(ZEROS)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self.open:
            self.open = False
            self.lane.loop.forget(self.sock)
            self.sock.close()


class Lane:
    """One port and its program."""

    def __init__(self, loop: Loop, spec: dict) -> None:
        self.loop = loop
        self.service_ns = int(spec.get("service_ms", 0) * MS)
        self.kill_every = spec.get("kill_every", 0)
        self.program = spec.get("program", [])
        self.kind = ""
        self.asked = self.answered = self.killed = 0
        self.acts: list[dict] = []
        self._unserved: list[Connection] = []
        self._unanswered: list[Connection] = []
        self._listener: socket.socket | None = None
        self.good = b""
        self.port = 0
        self._find_port()

    def schedule(self, go: int) -> None:
        for step in self.program:
            at = go + int(step["at_ms"] * MS)
            self.loop.at(at, self._down, step["kind"])
            self.loop.at(at + int(step["for_ms"] * MS), self._up)

    def ready(self, _mask: int) -> None:
        """Accept whoever waits."""
        while self._listener is not None:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # nobody is left, or who was first has gone
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, sock)
            self.loop.watch(sock, connection)
            connection.ready(select.EPOLLIN)  # the request may be here already

    def decide(self, connection: Connection) -> None:
        """Decide what becomes of a request: here, once."""
        kind = self.kind
        self.asked += 1
        if self.kill_every and connection.requests % self.kill_every == 0:
            self.killed += 1
            connection.close()
        elif not kind:
            self._serve(connection)
        elif kind in SAID:
            connection.say(SAID[kind])
        elif kind == "freeze":
            self._unserved.append(connection)
        elif kind == "reset":
            connection.reset()
        elif kind == "slow-accept":
            # For the client a connection that we do not accept is one that the kernel has accepted: no byte differs.
            self.loop.at(monotonic_ns() + SLOW_ACCEPT_NS, self._serve, connection)
        elif kind == "trickle":
            connection.say(reply("200 OK", b"{", length=10_000))
            connection.closing = False
            self._drip(connection)
        elif kind == "cut":
            connection.say(reply("200 OK", BODY[:9], length=len(BODY)), end=True)
        elif kind == "huge":
            connection.closing = False
            connection.say(reply("200 OK", b"", length=HUGE))
            connection.unsent = HUGE
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(ZEROS))
            self.loop.watch_writes(connection.sock)
        # What is left is a black hole: read, and never answered.

    def _serve(self, connection: Connection) -> None:
        if self.service_ns:
            self.loop.at(monotonic_ns() + self.service_ns, self._answer, connection)
        else:
            self._answer(connection)

    def _answer(self, connection: Connection) -> None:
        if self.kind == "freeze":
            self._unanswered.append(connection)
        else:
            self.answered += connection.open
            connection.say(self.good)

    def _drip(self, connection: Connection) -> None:
        if connection.open:
            connection.say(b" ")
            self.loop.at(monotonic_ns() + TRICKLE_NS, self._drip, connection)

    def _down(self, kind: str) -> None:
        self.ready(0)  # who is here already is served by the old rule
        before = monotonic_ns()
        self.kind = kind
        if kind == "refuse":
            self._unlisten()
        self.acts.append({"kind": kind, "down": [before, monotonic_ns()], "up": None})

    def _up(self) -> None:
        before = monotonic_ns()
        if self._listener is None:
            self._listen(self.port)
        self.kind = ""
        self.acts[-1]["up"] = [before, monotonic_ns()]
        # As after SIGCONT: what was under way when we froze is overdue, what came later begins now.
        finished, self._unanswered = self._unanswered, []
        waiting, self._unserved = self._unserved, []
        for connection in finished:
            self._answer(connection)
        for connection in waiting:
            if connection.open:
                self._serve(connection)

    def _find_port(self) -> None:
        while not self.port:
            with contextlib.suppress(OSError):
                self._listen(random.randrange(*PORTS))
        self.good = reply("200 OK", BODY, f"X-Chaos-Upstream: 127.0.0.1:{self.port}")

    def _listen(self, port: int) -> None:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(("127.0.0.1", port))
            listener.listen(4096)
        except OSError:
            listener.close()
            raise
        self._listener, self.port = listener, port
        self.loop.watch(listener, self)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self.loop.forget(self._listener)
            self._listener.close()
            self._listener = None


class Loop:
    """Readiness and timers, one thread. Timers have the resolution of select(), microseconds; epoll's own is 1 ms."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._users: dict[int, object] = {}
        self._timers: list[tuple] = []
        self._order = 0
        self.stalls: list[tuple[int, int]] = []
        self.over = False

    def at(self, moment: int, what: object, *args: object) -> None:
        self._order += 1
        heappush(self._timers, (moment, self._order, what, args))

    def watch(self, sock: socket.socket, user: object) -> None:
        self._users[sock.fileno()] = user
        self._epoll.register(sock, EVENTS)

    def watch_writes(self, sock: socket.socket) -> None:
        self._epoll.modify(sock, EVENTS | select.EPOLLOUT)

    def watch_input(self, user: object) -> None:
        self._users[0] = user
        self._epoll.register(0, select.EPOLLIN)

    def forget(self, sock: socket.socket) -> None:
        del self._users[sock.fileno()]
        self._epoll.unregister(sock)

    def run(self) -> None:
        self._beat(monotonic_ns())
        while not self.over:
            wait = max(0, self._timers[0][0] - monotonic_ns()) / 1e9
            ready, _, _ = select.select([self._epoll], [], [], wait)
            for fd, mask in self._epoll.poll(0) if ready else ():
                if (user := self._users.get(fd)) is not None:  # else closed by one before it in this round
                    user.ready(mask)
            now = monotonic_ns()
            while self._timers[0][0] <= now:
                _, _, what, args = heappop(self._timers)
                what(*args)

    def _beat(self, due: int) -> None:
        now = monotonic_ns()
        if now - due > STALL_NS:
            self.stalls.append((due, now))
        self.at(now + BEAT_NS, self._beat, now + BEAT_NS)


class Orders:
    """What comes on stdin after the program."""

    def __init__(self, loop: Loop, lanes: list[Lane]) -> None:
        self._loop, self._lanes = loop, lanes
        loop.watch_input(self)

    def ready(self, _mask: int) -> None:
        line = os.read(0, 4096)
        if not line:
            self._loop.over = True
            return
        for lane in self._lanes:
            lane.schedule(json.loads(line)["go"])


def say(row: dict) -> None:
    os.write(1, json.dumps(row, separators=(",", ":")).encode() + b"\n")


def main() -> None:
    program = json.loads(sys.stdin.buffer.raw.readline())  # raw: nothing that follows may be left in a buffer
    with contextlib.suppress(PermissionError):  # real time, where we may: what is late here is late for everybody
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    loop = Loop()
    lanes = [Lane(loop, spec) for spec in program["ports"]]
    Orders(loop, lanes)
    say({"ports": [lane.port for lane in lanes]})
    loop.run()
    say(
        {
            "acts": [act | {"port": at} for at, lane in enumerate(lanes) for act in lane.acts],
            "stalls": loop.stalls,
            "ports": [{"asked": lane.asked, "answered": lane.answered, "killed": lane.killed} for lane in lanes],
        }
    )


if __name__ == "__main__":
    main()
