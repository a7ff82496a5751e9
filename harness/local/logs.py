"""Logs of a stack that serves one run after the other: each run's `logs/` holds what was written during that run.

A process writes into the file that it opened, however that file is called now. So the file itself moves on to the next
run, with a line that says where that run begins; the run before gets a copy of its own part back. Nothing is ever cut
off while somebody writes, and whoever dies in between leaves a file with too much in it, never too little.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "logs"


@dataclass
class Logs:
    """The folder that processes write to: `link` leads to the `logs/` of the run that is served now."""

    link: Path
    directory: Path
    _starts: dict[str, int] = field(default_factory=dict)
    """Where in its file the present run begins, for files that came from the run before."""

    def path(self, name: str) -> Path:
        """File of a process as it is to be opened: a process that starts again later writes to the run of then."""
        if not self.link.is_symlink():
            (self.directory / FOLDER).mkdir(exist_ok=True)
            self.link.symlink_to(self.directory / FOLDER)
        return self.link / f"{name}.log"

    def turn(self, directory: Path, names: Sequence[str]) -> None:
        """Go on in another run's directory with the files of the processes `names`; raises StackError."""
        old, new = self.directory / FOLDER, directory / FOLDER
        try:
            new.mkdir(exist_ok=True)
            draft = self.link.with_name(f"{self.link.name}-next")
            draft.symlink_to(new)
            draft.replace(self.link)
            for name in (f"{name}.log" for name in names):
                (old / name).rename(new / name)
                end = _append(
                    new / name, f"--- run {directory.name} begins here; the lines above are of earlier runs\n"
                )
                _copy(new / name, old / name, self._starts.get(name, 0), end)
                self._starts[name] = end
        except OSError as error:
            raise StackError(f"the logs of the stack cannot go on in {new}: {error.strerror}") from error
        self.directory = directory

    def close(self) -> None:
        """Cut off what is of earlier runs; for when nobody writes any more. A full disk keeps the whole file."""
        for name, start in self._starts.items():
            path = self.directory / FOLDER / name
            draft = path.with_suffix(".part")
            try:
                _copy(path, draft, start, path.stat().st_size)
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)


def _append(path: Path, line: str) -> int:
    """Append a line, whole, whoever else appends meanwhile; return where it begins."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        written = os.write(fd, line.encode())
        return os.lseek(fd, 0, os.SEEK_CUR) - written
    finally:
        os.close(fd)


def _copy(source: Path, to: Path, start: int, end: int) -> None:
    with source.open("rb") as file, to.open("wb") as out:
        file.seek(start)
        left = end - start
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            out.write(data)
            left -= len(data)
