"""Listening for connections, and an end to it that loses none of them."""

import asyncio

from aiohttp import web


async def listen(runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
    """Accept connections for an application that is set up; `stop_listening` is the way to end it.

    Raises:
        OSError: The address cannot be had.

    """
    loop = asyncio.get_running_loop()
    handler = runner.server
    if handler is None:
        raise RuntimeError("the runner is not set up")
    return await loop.create_server(handler, host, port, backlog=1024, reuse_address=True)


async def stop_listening(server: asyncio.Server) -> None:
    """Close the listening sockets, once each connection they accepted has its handler; harmless when done again.

    asyncio forgets, open, a connection that is between its accept and its handler when the server closes (3.11's
    ``Server._attach`` asserts that the server is open). So: accept no more, give what was accepted its turn, close.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)
    server.close()
