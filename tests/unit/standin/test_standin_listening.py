"""A connection that comes in while the listener closes is nobody's loss."""

import asyncio
import gc
import socket
import warnings

import pytest
from aiohttp import web
from standin.listening import listen, stop_listening
from standin_postgres import free_port


@pytest.mark.parametrize("turns", range(6))
def test_no_connection_is_left_open_whichever_turn_of_the_loop_the_close_comes_in(turns: int) -> None:
    async def check() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        port = free_port()
        server = await listen(runner, "127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            for _ in range(turns):
                await asyncio.sleep(0)
            await stop_listening(server)
            await stop_listening(server)  # does no harm
            await asyncio.sleep(0)
            await runner.cleanup()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))

    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        asyncio.run(check())
        gc.collect()
    assert [str(warning.message) for warning in unclosed] == []
