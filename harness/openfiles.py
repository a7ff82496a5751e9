"""How many files a process may have open: thousands of sockets need more than the usual soft limit of 1024."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

_ENOUGH: Final = 1 << 20
"""Where the hard limit is in the billions, programs that walk all descriptors would take minutes."""


def raise_limit() -> int:
    """Raise this process's soft limit to the hard one, for itself and what it starts; returns what it got."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a container may refuse; what there is must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
