"""How clients come back after a loss: one table, each row with its source.

`eager` measures the server; the others are what the user of that client feels. They are populations of their own and
never mixed: a polite pause of a client is no slowness of the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final


@dataclass(frozen=True, slots=True)
class Policy:
    """One client's patience: `first_s`, then `factor` times more each time up to `cap_s`, from the start after an open.

    Without `redials` that holds only for who was never connected; a line that was lost stays lost.
    `jitter` is the share by which a pause may be longer or shorter; `strict_cap` caps the pause after its jitter too.
    Of `final_status` (answers to the upgrade) and `final_codes` (closes by the server) the client never comes back.
    """

    name: str
    source: str
    first_s: float = 0.0
    factor: float = 1.0
    cap_s: float = 0.0
    jitter: float = 0.0
    strict_cap: bool = False
    redials: bool = True
    final_status: frozenset[int] = frozenset()
    final_codes: frozenset[int] = frozenset()

    def pause_s(self, waits: int, draw: float) -> float:
        """Seconds to wait when `waits` pauses went before since the last open; `draw` is uniform in [0, 1)."""
        growth = self.factor ** min(waits, 64)
        pause = min(self.first_s * growth, self.cap_s) * (1 + self.jitter * (2 * draw - 1))
        return min(pause, self.cap_s) if self.strict_cap else pause

    def gives_up(self, *, status: int | None = None, code: int | None = None, opened: bool = True) -> str | None:
        """Why the client stays away after this refusal (its HTTP status) or close (its code); None when it returns.

        `opened` says whether it was ever connected.
        """
        if not self.redials:
            return "policy" if opened else None
        if status in self.final_status:
            return f"status:{status}"
        if code in self.final_codes:
            return f"close:{code}"
        return None


def draw(seed: int, session: str, number: int) -> float:
    """Draw number `number` of a session, uniform in [0, 1): the same for the same seed, whatever else happens."""
    return Random(f"{seed}/{session}/{number}").random()


EAGER: Final = "eager"

_TABLE = (
    Policy(EAGER, "ours: dials again at once, so that its gap is the server's", 0.05, cap_s=60.0),
    Policy(
        "dashboard",
        "the workspace page shows an error and stays stale: site/src/pages/WorkspacePage; so does the inbox",
        1.0,  # a page that never came up at all is loaded again by whoever waits for it
        cap_s=1.0,
        redials=False,
    ),
    Policy(
        "terminal",
        "ExponentialBackoff(1000, 6) of websocket-ts, reset on open: site/src/pages/TerminalPage",
        1.0,
        factor=2.0,
        cap_s=64.0,
    ),
    Policy(
        "vscode",
        # Newer ones (coder/vscode-coder 01093dc) come back after 1000 and 1001, as servers say so when they drain.
        "coder/vscode-coder src/websocket/{reconnectingWebSocket,codes}.ts, of those for which 1000 and 1001 are final",
        0.25,
        factor=2.0,
        cap_s=30.0,
        jitter=0.1,
        final_status=frozenset({401, 403, 404, 410, 426}),
        final_codes=frozenset({1000, 1001, 1002, 1003}),
    ),
    Policy(
        "stream",
        "site/src/utils/reconnectingWebSocket.ts (coder/coder 0580870b)",
        1.0,
        factor=2.0,
        cap_s=10.0,
        jitter=0.3,
        strict_cap=True,
    ),
)

POLICIES: Final = {policy.name: policy for policy in _TABLE}
"""All policies by name."""
