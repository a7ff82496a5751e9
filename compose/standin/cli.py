"""Command line: ``server``, ``version`` and ``--help``, as far as ``coder`` has them."""

import sys
from collections.abc import Sequence

from standin.bugs import BUGS, UnknownBugError
from standin.config import DEFAULT_VERSION, ConfigError, load

_USAGE = f"""\
coder-chaos stand-in for Coder

usage: coder server      serve; settings come from Coder's own CODER_* environment, and from
                         STANDIN_BUGS (comma list, see below), STANDIN_TIME_SCALE, STANDIN_VERSION
       coder version     print the version

bugs:  {", ".join(sorted(BUGS))}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 1 for settings or a start that failed, 2 for a wrong command or bug."""
    words = list(sys.argv[1:] if argv is None else argv)
    match words:
        case ["server"]:
            return _server()
        case ["version" | "--version"]:
            sys.stdout.write(f"Coder stand-in {DEFAULT_VERSION}, of coder-chaos, not Coder\n")
            return 0
        case ["help" | "--help" | "-h"] | ["server", "--help" | "-h"]:
            sys.stdout.write(_USAGE)
            return 0
    sys.stderr.write(_USAGE if not words else f"error: unknown command {' '.join(words)!r}; try --help\n")
    return 2


def _server() -> int:
    try:
        settings = load()
    except UnknownBugError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    # Imported late: the two above, and --help, need neither the HTTP nor the database library.
    import asyncio  # noqa: PLC0415

    from standin.log import LOG, set_up  # noqa: PLC0415
    from standin.server import serve  # noqa: PLC0415

    set_up(verbose=settings.verbose)
    LOG.info("coder-chaos stand-in, not Coder: version=%s time_scale=%g", settings.version, settings.scale)
    if settings.bugs:
        LOG.warning("seeded bugs are on: %s", ", ".join(sorted(settings.bugs)))
    return asyncio.run(serve(settings))
