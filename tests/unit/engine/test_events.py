from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import pytest

from harness import eventlog
from harness import events as ev
from harness.errors import RunDirError

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES: dict[str, Any] = {
    "str": 'text with "quotes", a newline\n, tabs\t and ünïcödé \u2028',
    "int": 2**62,
    "float": 0.1,
    "bool": True,
    "dict[str, Any]": {"a": [1, None, {"b": "c"}]},
    "dict[str, Any] | None": {"reused": True, "before": ["a"]},
    "dict[str, str]": {"id": "host"},
    "dict[str, dict[str, list[Any]]]": {"w": {"1": ["start", 1]}},
    "list[str]": ["x", "y"],
    "list[list[Any]]": [[7, False]],
    "list[dict[str, Any]]": [{"x": 1}],
    "dict[str, int]": {"3": 5},
    "str | None": None,
    "int | None": None,
    "float | None": None,
}


def made(cls: type[ev.Event], *, least: bool = False) -> ev.Event:
    values = {}
    for field in fields(cls):
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if field.name in {"seq", "t_ns"} or (least and has_default):
            continue
        values[field.name] = SAMPLES[str(field.type)]
    return cls(**values)


def log_of(directory: Path, *events: ev.Event) -> list[ev.Event]:
    ticks = iter(range(10**9, 10**12, 7))
    with eventlog.EventLog(directory, lambda: next(ticks)) as log:
        return [log.emit(event) for event in events]


@pytest.mark.parametrize("kind", sorted(ev.KINDS))
@pytest.mark.parametrize("least", [False, True], ids=["full", "defaults"])
def test_every_kind_makes_the_round_trip(kind: str, *, least: bool, tmp_path: Path) -> None:
    written = log_of(tmp_path, made(ev.KINDS[kind], least=least))
    file = eventlog.read_events(tmp_path)
    assert file.events == written
    assert not file.torn
    line = json.loads((tmp_path / eventlog.FILE).read_text())
    assert list(line)[:5] == ["v", "seq", "t_ns", "kind", "src"]
    assert line["kind"] == kind


def test_kinds_are_named_once() -> None:
    names = [cls.kind for cls in ev.Event.__subclasses__()]
    assert len(set(names)) == len(names)
    assert all(cls.__doc__ for cls in ev.Event.__subclasses__())


def test_numbers_and_stamps_are_the_logs(tmp_path: Path) -> None:
    events = log_of(tmp_path, *(ev.Note(text=str(n)) for n in range(5)))
    assert [e.seq for e in events] == [0, 1, 2, 3, 4]
    assert [e.t_ns for e in events] == sorted({e.t_ns for e in events})


def test_an_existing_log_is_never_written_over(tmp_path: Path) -> None:
    log_of(tmp_path, ev.Note(text="first"))
    with pytest.raises(RunDirError, match="cannot write the event log"):
        eventlog.EventLog(tmp_path, lambda: 0)


def test_a_cut_last_line_is_dropped_and_told(tmp_path: Path) -> None:
    log_of(tmp_path, ev.Note(text="whole"), ev.Note(text="cut"))
    path = tmp_path / eventlog.FILE
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first + 1, len(whole)):
        path.write_bytes(whole[:length])
        file = eventlog.read_events(tmp_path)
        assert file.torn
        assert len(file.events) == 1
    path.write_bytes(whole[:first])
    assert not eventlog.read_events(tmp_path).torn


def test_an_unknown_kind_is_kept_as_it_is(tmp_path: Path) -> None:
    line = {"v": 1, "seq": 0, "t_ns": 5, "kind": "moon.phase", "src": "x", "phase": "full", "deep": {"a": [1]}}
    (tmp_path / eventlog.FILE).write_text(json.dumps(line) + "\n")
    [event] = eventlog.read_events(tmp_path).events
    assert event == ev.Unknown(name="moon.phase", data={"phase": "full", "deep": {"a": [1]}}, seq=0, t_ns=5, src="x")
    other = tmp_path / "again"
    other.mkdir()
    log_of(other, event)
    assert json.loads((other / eventlog.FILE).read_text())["deep"] == {"a": [1]}


def test_an_unknown_field_of_a_known_kind_is_passed_over(tmp_path: Path) -> None:
    line = {"v": 1, "seq": 0, "t_ns": 5, "kind": "note", "src": "x", "text": "hi", "mood": "new"}
    (tmp_path / eventlog.FILE).write_text(json.dumps(line) + "\n")
    assert eventlog.read_events(tmp_path).events == [ev.Note(text="hi", seq=0, t_ns=5, src="x")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"v":2,"seq":0,"t_ns":0,"kind":"note","src":"x","text":""}', r"newer version \(format 2, this one reads 1\)"),
        ('{"v":"1","seq":0,"t_ns":0,"kind":"note","src":"x","text":""}', "newer version"),
        ('{"v":1,"seq":0,"t_ns":0,"kind":"note","src":"x"}', "event note lacks a field"),
        ('{"v":1,"seq":0}', "not an event"),
        ("[1]", "not an event"),
        ("", "not an event"),
        ("\x00\x00", "not an event"),
    ],
)
def test_what_is_no_event_is_refused_with_file_and_line(line: str, says: str, tmp_path: Path) -> None:
    log_of(tmp_path, ev.Note(text="good"))
    with (tmp_path / eventlog.FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunDirError, match=says) as caught:
        eventlog.read_events(tmp_path)
    assert f"{eventlog.FILE}:2: " in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_without_a_log_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="is not a run directory"):
        eventlog.read_events(tmp_path)


def test_faults_are_on_disk_before_the_deed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("harness.eventlog.os.fsync", synced.append)
    log_of(tmp_path, ev.Note(text="x"), ev.Phase(name="fault"))
    assert synced == []
    with eventlog.EventLog(_new(tmp_path), lambda: 1) as log:
        log.emit(made(ev.FaultPrepared))
        log.emit(made(ev.ResourceCreated))
    assert len(synced) == 2


def test_a_full_disk_is_told_by_name(tmp_path: Path) -> None:
    class Full:
        name = "events.jsonl"

        def write(self, _text: str) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    log = eventlog.EventLog(tmp_path, lambda: 1)
    log._file.close()
    log._file = Full()  # type: ignore[assignment]
    with pytest.raises(RunDirError, match="No space left on device; free space"):
        log.emit(ev.Note(text="x"))
    log.close()


def _new(folder: Path) -> Path:
    made_ = folder / "new"
    made_.mkdir()
    return made_
