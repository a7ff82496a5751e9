"""Logging: one line per event on stderr, with UTC time and level. Secrets never reach it."""

import logging
import sys
import time

LOG = logging.getLogger("standin")


class _Formatter(logging.Formatter):
    """Draw ``2026-01-31T12:00:00.123Z [info] message``; an exception becomes one more word, not a stack."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{stamp}.{int(record.msecs):03d}Z [{record.levelname.lower()}] {record.getMessage()}"


def set_up(*, verbose: bool) -> None:
    """Send the stand-in's events, and warnings of its libraries, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(logging.DEBUG if verbose else logging.INFO)


def one_line(error: BaseException) -> str:
    """Describe an error in one line: its type, and its text if it has one."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
