"""Every file of the load by plain `locust`: headless, with a web page, on several workers; and all that they ask for."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
from load_by_hand import DOCS, FILES, ByHand, by_hand
from load_rig import LOADTESTS, ROOT

from harness.load import SIZES
from harness.records import Outcome

if TYPE_CHECKING:
    from load_server import Api, Seen

sys.path.append(str(ROOT / "tests" / "contract"))
from coder_api import API, CALLS, TOKEN_HEADER, WORKSPACE, Auth, Call, find

ROUTES = {
    "GET /latency-check",
    *(f"GET {API}/{path}" for path in ("users/{user}", "buildinfo", "entitlements", "experiments", "appearance")),
    *(f"GET {API}/{path}" for path in ("organizations", "regions", "notifications/inbox", "workspaces", "templates")),
    f"POST {API}/authcheck",
    f"GET {API}/users/{{user}}/workspace/{{workspacename}}",
    f"GET {API}/templates/{{template}}",
    f"GET {API}/templateversions/{{templateversion}}",
    f"GET {API}/organizations/{{organization}}/templates/{{templatename}}",
    f"GET {API}/workspaces/{{workspace}}/builds",
    f"POST {API}/workspaces/{{workspace}}/builds",
    f"GET {API}/workspacebuilds/{{workspacebuild}}",
}
"""What the load asks for, all of it."""
HEADERS = {TOKEN_HEADER.lower(), "host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"}


def call(seen: Seen) -> Call | None:
    return cached_find(seen.method, seen.path.partition("?")[0])


cached_find = cache(find)


def routes(api: Api) -> set[str]:
    return {row.name for row in map(call, list(api.seen)) if row}


@pytest.fixture(scope="module")
def hand(module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    return by_hand(module_api, tmp_path_factory.mktemp("hand"), lambda: ROUTES - routes(module_api))


@pytest.mark.parametrize("file", FILES)
def test_headless(hand: ByHand, file: str) -> None:
    assert hand.codes[file] == 0, hand.said[file]
    assert "Traceback" not in hand.said[file]
    counted = hand.records[file]
    assert set(counted.outcomes) == {Outcome.OK}
    assert counted.censored == counted.torn == 0
    assert counted.started > 0


def test_a_page(hand: ByHand) -> None:
    assert "Locust" in hand.page
    assert '"success":true' in hand.swarmed.replace(" ", "")
    assert hand.codes["page"] == 0


def test_a_master_and_two_workers(hand: ByHand, module_api: Api) -> None:
    for name in ("master", "worker-0", "worker-1"):
        assert hand.codes[name] == 0, hand.said[name]
        assert "Traceback" not in hand.said[name]
    records = {name: counted for name, counted in hand.records.items() if name.startswith("many-")}
    assert set(records) == {"many-0", "many-1"}  # the master has no users and writes none
    assert all(set(counted.outcomes) == {Outcome.OK} for counted in records.values())
    used = {seen.headers["coder-session-token"] for seen in module_api.seen}
    # Ten users each, from line 0 and from line 12 on: numbers never overlap, tokens do where the file ends.
    assert {token for token in used if token.startswith("many-")} == {f"many-{k}" for k in (*range(10), *range(12, 20))}
    sent = re.search(r"Aggregated +(\d+) ", hand.said["master"])  # Locust's own count, through its own messages
    assert sent is not None
    assert 0 < int(sent[1]) <= sum(counted.outcomes.total() for counted in records.values())  # it may miss the last


def test_class_names_say_closed_or_open() -> None:
    for file in FILES:
        tree = ast.parse((LOADTESTS / f"{file}.py").read_text())
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        assert classes
        assert all(name.startswith(("Closed", "Open")) for name in classes), (file, classes)


def test_every_request_is_a_call_of_coders_api(hand: ByHand, module_api: Api) -> None:
    """As the table of calls says: path, whom it serves, fields of query and body. Which codes come back is the server's."""
    unknown = {f"{seen.method} {seen.path}" for seen in module_api.seen if call(seen) is None}
    assert not unknown
    assert routes(module_api) == ROUTES
    for seen in module_api.seen:
        row = call(seen)
        assert row is not None
        assert row.auth is not Auth.OWNER, row.name  # users of a load are members
        assert set(seen.headers) <= HEADERS, row.name
        asked = {part.partition("=")[0] for part in seen.path.partition("?")[2].split("&")} - {""}
        assert asked <= set(row.query), row.name
        sent = set(json.loads(seen.body)) if seen.body else set()
        assert set(row.required) <= sent <= {field.removeprefix("*") for field in row.body}, row.name
        assert (seen.headers.get("content-type") == "application/json") == bool(seen.body)


def test_names_in_the_records_are_calls_and_hold_no_ids(hand: ByHand) -> None:
    names = {name for name in hand.names if not name.startswith("DROPPED ")}
    assert len(names) == len(ROUTES)
    assert all(find(*name.split(" ")) for name in names)
    assert not [name for name in names if re.search(r"w1|t1|v2/templateversions/v2|b1|load-0|\?", name)]


def test_what_the_load_reads_of_an_answer_is_in_the_table() -> None:
    read = {"id", "name", "template_id", "template_active_version_id", "outdated", "latest_build.status"}
    assert read <= set(WORKSPACE)
    fields = {row.name: row.fields for row in CALLS}
    template = {"[].organization_id", "[].name", "[].active_version_id"}
    assert template <= set(fields[f"GET {API}/templates"])
    assert {"id", "status"} <= set(fields[f"POST {API}/workspaces/{{workspace}}/builds"])
    assert {"regions.[].healthy", "regions.[].path_app_url"} <= set(fields[f"GET {API}/regions"])
    assert "roles" in fields[f"GET {API}/users/{{user}}"]


def test_the_page_about_the_load_is_true(
    hand: ByHand, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DOCS.read_text()
    for size, rate in SIZES.items():
        assert f"| `{size}` | {rate} |" in text
    weights = re.findall(r"weight = (\d+)", (LOADTESTS / "mixed.py").read_text())
    named = re.findall(r"(\d+) % (?:dashboard|templates|builds|lists|arrivals)", text)
    assert sorted(map(int, weights)) == sorted(map(int, named))
    for file in FILES:
        assert f"| `{file}.py` |" in text
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    for suffix in ("", ".names.json"):
        shutil.copy(hand.folder / f"dashboard.bin{suffix}", hand.folder / f"load-0.bin{suffix}")
    monkeypatch.chdir(hand.folder)
    exec(code, {})  # noqa: S102 - the text is ours
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("LoadTotals(started=")
    assert len(lines) == 1 + hand.records["dashboard"].started
    assert lines[1].endswith(" OK")


def test_the_page_names_every_setting() -> None:
    """The module that it points to does, and the page names no other."""
    listed = set(re.findall(r"^(C[A-Z_]+) ", (LOADTESTS / "_settings.py").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"CHAOS_LOAD_[A-Z_]+|CODER_SESSION_TOKEN", DOCS.read_text())) <= listed
    read = set(re.findall(r"\"(CHAOS_LOAD_[A-Z_]+|CODER_SESSION_TOKEN)\"", (LOADTESTS / "_settings.py").read_text()))
    assert read == listed
