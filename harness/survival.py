"""How long things stay down when some have not come back yet: Kaplan-Meier, and bounds that need no model."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class Survival:
    """Durations in ns, each list sorted: `back` of those that came back, `down` of those only known to be down so long.

    Who gave up stays down: it counts as down until the end of the observation, not until it gave up, or a client that
    never returns would make the others' average look like everybody's.
    """

    back: tuple[int, ...]
    down: tuple[int, ...]

    @property
    def count(self) -> int:
        """All of them."""
        return len(self.back) + len(self.down)

    def curve(self) -> list[tuple[int, float]]:
        """Steps of the Kaplan-Meier estimate: (duration, share still down from there on)."""
        steps: list[tuple[int, float]] = []
        share = 1.0
        for moment in sorted(set(self.back)):
            events = bisect_right(self.back, moment) - bisect_right(self.back, moment - 1)
            risk = self.count - bisect_right(self.back, moment - 1) - bisect_right(self.down, moment - 1)
            share *= 1 - events / risk
            steps.append((moment, share))
        return steps

    def back_within(self, share: float) -> int | None:
        """Duration after which that share is back by the estimate; None when it never gets there."""
        return next((moment for moment, down in self.curve() if 1 - down >= share - 1e-12), None)

    def estimate(self, moment: int) -> float:
        """Share that is back after that duration, by the estimate."""
        return 1 - next((down for at, down in reversed(self.curve()) if at <= moment), 1.0)

    def bounds(self, moment: int) -> tuple[float, float]:
        """Share that is back after that duration: at least, and at most if all that were last seen earlier came back."""
        if not self.count:
            return 0.0, 1.0
        sure = bisect_right(self.back, moment)
        unseen = bisect_right(self.down, moment - 1)
        return sure / self.count, (sure + unseen) / self.count
