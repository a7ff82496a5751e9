"""Settings: Coder's own environment names and defaults, plus the three of the stand-in."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from standin.bugs import parse_bugs

DEFAULT_VERSION = "v2.36.0-standin+0000000"
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "f", "false", "no", "off"})


class ConfigError(ValueError):
    """The environment cannot be used; the text is one line naming the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one replica was told. Durations are seconds; ``threshold_database`` and rates are never scaled."""

    host: str
    port: int
    access_url: str
    postgres_url: str
    pool_max: int = 10
    relay_url: str = ""
    hostname: str = "localhost"
    daemons: int = 3
    rate_limit: int = 512
    rate_limits_off: bool = False
    health_refresh: float = 600.0
    threshold_database: float = 0.015
    prometheus: tuple[str, int] | None = None
    """Where metrics are served, if at all."""
    collect_db_metrics: bool = False
    telemetry: bool = False
    update_check: bool = False
    verbose: bool = False
    version: str = DEFAULT_VERSION
    scale: float = 1.0
    trips_per_query: int = 1
    trips_header: bool = False
    bugs: frozenset[str] = frozenset()


def go_duration(text: str) -> float:
    """Read a Go duration such as ``1h30m``, ``15s`` or ``15ms`` as seconds; raise ValueError otherwise."""
    if text == "0":
        return 0.0
    seconds, end = 0.0, 0
    for term in _TERM.finditer(text):
        if term.start() != end:
            break
        seconds += float(term[1]) * _UNITS[term[2]]
        end = term.end()
    if not text or end != len(text):
        raise ValueError(f"not a Go duration: {text!r}")
    return seconds


class _Reader:
    """Reads typed values from an environment; every complaint names its variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str = "") -> str:
        return self._environ.get(name, "").strip() or default

    def required(self, name: str, hint: str) -> str:
        value = self.text(name)
        if not value:
            raise ConfigError(f"{name} is required: {hint}")
        return value

    def integer(self, name: str, default: int, *, allowed: range | None = None) -> int:
        value = self.text(name)
        try:
            number = int(value) if value else default
        except ValueError:
            raise ConfigError(f"{name} must be a whole number, not {value!r}") from None
        if allowed is not None and number not in allowed:
            raise ConfigError(f"{name} must be from {allowed[0]} to {allowed[-1]}, not {value!r}")
        return number

    def flag(self, name: str) -> bool:
        value = self.text(name).lower()
        if value not in _TRUE | _FALSE:
            raise ConfigError(f"{name} must be true or false, not {value!r}")
        return value in _TRUE

    def duration(self, name: str, default: str) -> float:
        value = self.text(name, default)
        try:
            return go_duration(value)
        except ValueError:
            raise ConfigError(f"{name} must be a duration such as 15s or 10m, not {value!r}") from None

    def address(self, name: str, default: str) -> tuple[str, int]:
        value = self.text(name, default)
        host, _, port = value.rpartition(":")
        if not port.isdigit():
            raise ConfigError(f"{name} must be host:port, not {value!r}")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":3000" means every address in Go

    def scale(self, name: str) -> float:
        value = self.text(name, "1.0")
        try:
            scale = float(value)
        except ValueError:
            scale = 0.0
        if not 0.001 <= scale <= 100.0:
            raise ConfigError(f"{name} must be a number from 0.001 to 100, not {value!r}")
        return scale


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from an environment.

    Names and defaults as in codersdk/deployment.go. Raises ConfigError, or UnknownBugError for STANDIN_BUGS.
    """
    bugs = parse_bugs(environ.get("STANDIN_BUGS", ""))
    read = _Reader(environ)
    host, port = read.address("CODER_HTTP_ADDRESS", "127.0.0.1:3000")
    access_url = read.required("CODER_ACCESS_URL", "set it to the URL of the balancer").rstrip("/")
    if urlsplit(access_url).scheme not in {"http", "https"}:
        raise ConfigError("CODER_ACCESS_URL must be an http or https URL")
    postgres_url = read.required("CODER_PG_CONNECTION_URL", "set it to postgres://user:password@host:port/database")
    if urlsplit(postgres_url).scheme not in {"postgres", "postgresql"}:
        raise ConfigError("CODER_PG_CONNECTION_URL must be a postgres:// URL")
    return Settings(
        host=host,
        port=port,
        access_url=access_url,
        postgres_url=postgres_url,
        pool_max=max(1, read.integer("CODER_PG_CONN_MAX_OPEN", 10)),
        relay_url=read.text("CODER_DERP_SERVER_RELAY_URL"),
        hostname=read.text("HOSTNAME") or socket.gethostname(),
        daemons=max(0, read.integer("CODER_PROVISIONER_DAEMONS", 3)),
        rate_limit=read.integer("CODER_API_RATE_LIMIT", 512),
        rate_limits_off=read.flag("CODER_DANGEROUS_DISABLE_RATE_LIMITS"),
        health_refresh=read.duration("CODER_HEALTH_CHECK_REFRESH", "10m"),
        threshold_database=read.duration("CODER_HEALTH_CHECK_THRESHOLD_DATABASE", "15ms"),
        prometheus=read.address("CODER_PROMETHEUS_ADDRESS", "127.0.0.1:2112")
        if read.flag("CODER_PROMETHEUS_ENABLE")
        else None,
        collect_db_metrics=read.flag("CODER_PROMETHEUS_COLLECT_DB_METRICS"),
        telemetry=read.flag("CODER_TELEMETRY_ENABLE"),
        update_check=read.flag("CODER_UPDATE_CHECK"),
        verbose=read.flag("CODER_VERBOSE"),
        version=read.text("STANDIN_VERSION", DEFAULT_VERSION),
        scale=read.scale("STANDIN_TIME_SCALE"),
        trips_per_query=read.integer("STANDIN_TRIPS_PER_QUERY", 1, allowed=range(1, 3)),
        trips_header=read.flag("STANDIN_TRIPS_HEADER"),
        bugs=bugs,
    )
