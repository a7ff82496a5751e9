"""The one time scale of the stand-in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Scales the durations the server itself chooses; what clients or networks choose stays in wall seconds."""

    scale: float = 1.0

    def server(self, seconds: float) -> float:
        """Give the wall seconds that stand for ``seconds`` of server time."""
        return seconds * self.scale
