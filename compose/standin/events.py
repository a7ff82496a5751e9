"""Who wants to hear of which workspace or template: one LISTEN and one parse per message, however many watch."""

import json
from collections.abc import Callable

from standin.pubsub import PubSub

Poke = Callable[[], None]
"""Called when something happened."""

ANY = ""
"""The key of those who want every message of a channel."""


class Events:
    """Hands the messages of channels to those who asked for their key.

    A message is JSON with a ``workspace_id``, which is its key, or empty.
    """

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._channels: dict[str, _Channel] = {}

    async def join(self, channel: str, key: str, poke: Poke) -> None:
        """Call ``poke`` for every message of a key from now on; returns once the database listens."""
        found = self._channels.get(channel)
        if found is None:
            found = self._channels[channel] = _Channel()
        found.pokes.setdefault(key, set()).add(poke)
        await self._pubsub.subscribe(channel, found.on_message)

    async def leave(self, channel: str, key: str, poke: Poke) -> None:
        """Take a poke away, whether or not its ``join`` came to an end."""
        found = self._channels.get(channel)
        if found is None or poke not in found.pokes.get(key, ()):
            return
        found.pokes[key].discard(poke)
        if not found.pokes[key]:
            del found.pokes[key]
        if not found.pokes:
            del self._channels[channel]
            await self._pubsub.unsubscribe(channel, found.on_message)


class _Channel:
    def __init__(self) -> None:
        self.pokes: dict[str, set[Poke]] = {}

    def on_message(self, payload: str) -> None:
        key = json.loads(payload)["workspace_id"] if payload else ANY
        for poke in tuple(self.pokes.get(key, ())):
            poke()
