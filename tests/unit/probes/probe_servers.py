"""A small server that can misbehave in every way the meter must name, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator

    Handler = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

UPSTREAM_PORT = 4321


def answer(body: bytes = b"OK", status: str = "200 OK", *extra: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"X-Chaos-Upstream: 127.0.0.1:{UPSTREAM_PORT}"]
    return "\r\n".join([*lines, *extra, "", ""]).encode() + body


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Server:
    """One listening port. `requests` counts whole requests read, `connections` counts accepts."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests = 0
        self.connections = 0
        self.pongs = 0
        self.port = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.thaw: asyncio.Event = asyncio.Event()
        self.thaw.set()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        return head

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            await self.handler(self, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the meter hung up, or the test is over
        finally:
            self.writers.discard(writer)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def close(listener: asyncio.Server) -> None:
    """Listen no more; asyncio would leak a connection that is between accept and handler, so that gets its turn first."""
    for sock in listener.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    await asyncio.sleep(0)
    listener.close()


class Servers:
    """Starts servers in its thread and stops them all."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._listeners: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers")
        self._thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def call(self, act: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(act)

    def start(self, handler: Handler, tls: ssl.SSLContext | None = None) -> Server:
        server = Server(handler)
        listener = self.run(asyncio.start_server(server.accept, "127.0.0.1", 0, backlog=512, ssl=tls))
        self._listeners.append(listener)
        server.port = listener.sockets[0].getsockname()[1]
        return server

    def kill(self, server: Server) -> None:
        """End a server as a process that is killed: it listens no more, and all its connections are reset."""

        async def end() -> None:
            for listener in self._listeners:
                if listener.sockets and listener.sockets[0].getsockname()[1] == server.port:
                    await close(listener)
            for writer in list(server.writers):
                reset(writer)

        self.run(end())

    def revive(self, server: Server) -> None:
        """Listen again where it did."""
        self._listeners.append(self.run(asyncio.start_server(server.accept, "127.0.0.1", server.port, backlog=512)))

    def stop(self) -> None:
        async def end() -> None:
            for listener in self._listeners:
                await close(listener)
            me = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not me]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    running = Servers()
    try:
        yield running
    finally:
        running.stop()


async def until_gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def saying(data: bytes, *, close: bool = False) -> Handler:
    """Say `data` to each request; keep the connection unless `close`."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            await server.thaw.wait()
            writer.write(data)
            await writer.drain()
            if close:
                return

    return handle


def slow(seconds: float) -> Handler:
    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            await asyncio.sleep(seconds)
            writer.write(answer())

    return handle


async def resets_at_once(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def resets_after_request(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    reset(writer)


async def closes_after_request(server: Server, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await server.request(reader)


async def trickles(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say one byte at a time, never enough."""
    await server.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"O")
        await asyncio.sleep(0.05)


async def hangs(_: Server, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await until_gone(reader)


async def floods(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1600):
        writer.write(b"x" * 62_500)
        await writer.drain()
        if writer.transport.is_closing():  # under TLS, drain does not say so
            return


async def floods_headers(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1600):
        writer.write(b"X-Pad: " + b"x" * 62_500 + b"\r\n")
        await writer.drain()


async def kills_every_second(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(answer())
    await server.request(reader)
    reset(writer)


async def closes_every_second(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(answer())
    await server.request(reader)


def snapshot(number: int = 1) -> str:
    build = {"build_number": number, "status": "running"}
    return json.dumps({"type": "data", "data": {"latest_build": build, "updated_at": "2026-01-02T03:04:05Z"}})


PING = '{"type":"ping","data":null}'


def watching(script: Callable[[Session], Awaitable[None]]) -> Handler:
    """Accept the upgrade, then run `script` while pings are answered; hang up when it returns."""

    async def handle(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(server, reader, writer)
        await session.accept()
        pump = asyncio.ensure_future(session.pump())
        acting = asyncio.ensure_future(script(session))
        try:
            await asyncio.wait({pump, acting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, acting):
                task.cancel()
            await asyncio.gather(pump, acting, return_exceptions=True)

    return handle


class Session:
    """The server's side of one watch session."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.core = ServerProtocol()
        self.deaf = False
        self.on_text: Callable[[bytes], None] | None = None
        self.closed_with: int | None = None

    async def accept(self) -> None:
        self.core.receive_data(await self.reader.readuntil(b"\r\n\r\n"))
        (request,) = self.core.events_received()
        response = self.core.accept(request)
        response.headers["X-Chaos-Upstream"] = f"10.0.0.9:{UPSTREAM_PORT}"
        self.core.send_response(response)
        self.flush()

    async def pump(self) -> None:
        while data := await self.reader.read(65536):
            if self.deaf:
                continue
            self.core.receive_data(data)
            for event in self.core.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    self.closed_with = int.from_bytes(event.data[:2], "big")
                elif isinstance(event, Frame) and event.opcode is Opcode.PONG:
                    self.server.pongs += 1
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT and self.on_text is not None:
                    self.on_text(bytes(event.data))
            self.flush()

    def text(self, message: str) -> None:
        self.core.send_text(message.encode())
        self.flush()

    def flush(self) -> None:
        for data in self.core.data_to_send():
            if data:
                self.writer.write(data)
