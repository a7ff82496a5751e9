"""What all tests share: under CI=true a skip is an error, because nobody reads what was skipped there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI=true: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Say last what was skipped; when `make test` calls pytest more than once, also what its earlier calls skipped."""
    yield
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):  # a worker of xdist, whose reports the first process has too
        return
    skipped = reporter.stats.get("skipped", [])
    said = [str(r.longrepr[2]) if isinstance(r.longrepr, tuple) else str(r.longrepr) for r in skipped]
    if log := os.environ.get("SKIPPED_TESTS"):
        with Path(log).open("a+", encoding="utf-8") as file:
            file.writelines(json.dumps(reason) + "\n" for reason in said)
            file.seek(0)
            said = [json.loads(line) for line in file]
    if said:
        reporter.write_line(f"skipped here: {len(said)} tests ({'; '.join(sorted(set(said)))})")
