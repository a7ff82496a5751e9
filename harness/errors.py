"""Errors of the harness itself. A failed request or a broken promise of Coder is never one of these.

```
HarnessError                 70  internal error, with a one-line text for people
├── UsageError                2  the command line, an environment key or a scenario file is wrong
├── NotReady                  5  this machine or stack cannot run it; nothing was injected
│   ├── StackError            5  a part of the stack did not start, or died while starting
│   └── LockHeld              5  another run holds the target
├── RunDirError               2  a run directory cannot be read or written
└── KeeperLost               70  the parent of our processes is gone
```
Every text says what was wanted, what was seen and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class HarnessError(Exception):
    """Something went wrong on our side.

    `exit_code` is what the command line ends with when this error ends the command.
    """

    exit_code: ClassVar[int] = 70


class UsageError(HarnessError):
    """The request itself is wrong: unknown scenario, key, unit, role or file."""

    exit_code: ClassVar[int] = 2


class RunDirError(UsageError):
    """A run directory is missing, unreadable, not writable or of a newer major version."""


class NotReady(HarnessError):  # noqa: N818 - it names a state
    """The environment cannot run this; nothing was injected."""

    exit_code: ClassVar[int] = 5


class StackError(NotReady):
    """A part of the stack did not become ready. The text carries its last log lines."""


class LockHeld(NotReady):
    """Another run holds the target. The text names it."""


class KeeperLost(HarnessError):  # noqa: N818 - it names an event
    """The keeper process is gone, or did not answer in time."""
