"""Which engine and which plugin, and what is said when they are not to be had."""

from __future__ import annotations

import gc
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_engine import FakeEngine

from harness.clients import docker
from harness.clients.project import Unreachable, named
from harness.containers import plugin
from harness.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    folder = tempfile.mkdtemp(prefix="chaos-fake-")
    with FakeEngine(Path(folder) / "docker.sock") as running:
        yield running
    shutil.rmtree(folder)


def test_the_engine_is_the_one_of_docker_host() -> None:
    assert docker.socket_path({}) == Path("/var/run/docker.sock")
    assert docker.socket_path({"DOCKER_HOST": "unix:///a/b.sock"}) == Path("/a/b.sock")
    with pytest.raises(NotReady, match="only an engine on this machine will do"):
        docker.socket_path({"DOCKER_HOST": "tcp://host:2375"})


def test_an_engine_that_serves_our_api_is_taken(engine: FakeEngine) -> None:
    docker.connect(engine.path).close()


@pytest.mark.parametrize(("oldest", "newest"), [("1.12", "1.39"), ("1.44", "1.52")])
def test_an_engine_of_another_time_is_refused(engine: FakeEngine, oldest: str, newest: str) -> None:
    engine.serves = (oldest, newest)
    with pytest.raises(NotReady, match=rf"serves API {oldest} to {newest}, 1\.40 is needed"):
        docker.connect(engine.path)


def test_a_socket_that_is_not_there_not_ours_or_silent(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotReady, match="does not exist; install Docker and start it"):
        docker.connect(tmp_path / "no.sock")
    engine.down()
    engine.path.touch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the package forgets a socket that it could not connect
        with pytest.raises(NotReady, match=r"does not answer: .*is dockerd running"):
            docker.connect(engine.path)
        gc.collect()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(NotReady, match=r"no permission on .*usermod -aG docker"):
        docker.connect(engine.path)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Bind for 127.0.0.1:80 failed: port is already allocated", "a port is taken: "),
        ("write /var/lib/docker: no space left on device", "the disk of the Docker engine is full: "),
        ("no matching manifest for linux/arm64 in the manifest list entries", "an image is of another platform: "),
        ("Error response from daemon: No such image: chaos-x:local", "an image is missing: "),
        ("error: something else", ""),
    ],
)
def test_what_an_engine_says_has_a_name(said: str, cause: str) -> None:
    def work() -> None:
        raise subprocess.CalledProcessError(1, "up", stderr=f"Container x  Creating\n{said}\n".encode())

    with pytest.raises(NotReady) as caught:
        named("bring up the stack", work)
    assert str(caught.value).startswith(f"could not bring up the stack: {cause}")
    assert str(caught.value).endswith(said)


def test_no_registry_is_a_case_of_its_own() -> None:
    def work() -> None:
        raise subprocess.CalledProcessError(1, "up", stderr=b"Get https://r/v2/: dial tcp: lookup r: no such host")

    with pytest.raises(Unreachable, match="no image registry is reachable"):
        named("bring up the stack", work)


def test_the_plugin_is_found_where_docker_looks_then_on_path_then_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "_SYSTEM", ())
    cached = tmp_path / "cache" / f"compose-{plugin.VERSION}" / "docker-compose"
    environ = {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin")}
    with pytest.raises(NotReady, match="Compose plugin is missing"):
        plugin.needed(tmp_path / "nothing")
    at_home = tmp_path / "home" / ".docker" / "cli-plugins" / "docker-compose"
    for path, content in (
        (cached, b"\x7fELF"),
        (tmp_path / "bin" / "docker-compose", b"#!/usr/bin/python3 the old one"),
        (at_home, b"\x7fELF"),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        path.chmod(0o755)
        assert plugin.find(tmp_path / "cache", environ) == (at_home if path == at_home else cached)
