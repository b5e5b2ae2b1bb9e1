"""The stream that the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from proxy.fetching import Fetch
from proxy.siem.posting import HttpSink, OtlpSink
from proxy.siem.sinks import FileSink, Sink, StdoutSink
from proxy.siem.stream import Entries, Stream
from proxy.siem.syslog import SyslogSink


class SiemOf(Protocol):
    """`conf.settings.SiemSettings`."""

    @property
    def sink(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def file(self) -> Path | None: ...
    @property
    def file_bytes(self) -> int: ...
    @property
    def file_keep(self) -> int: ...
    @property
    def authorization(self) -> SecretStr | None: ...
    @property
    def ca(self) -> Path | None: ...
    @property
    def records(self) -> tuple[str, ...]: ...
    @property
    def texts(self) -> bool: ...


def build(
    settings: SiemOf, *, journal: Path, cursors: Path, fetch: Fetch, entries: Entries
) -> Stream | None:
    """The stream, None if none is asked for.

    Raises:
        BadSyslogAddress. OSError: the file of authorities cannot be read.
    """
    sink = _sink(settings, fetch)
    if sink is None:
        return None
    return Stream(journal, cursors, sink, entries, records=settings.records, texts=settings.texts)


def _sink(settings: SiemOf, fetch: Fetch) -> Sink | None:
    secret = settings.authorization.get_secret_value() if settings.authorization else ""
    match settings.sink:
        case "stdout":
            return StdoutSink()
        case "file":
            assert settings.file is not None
            return FileSink(settings.file, most=settings.file_bytes, keep=settings.file_keep)
        case "syslog":
            return SyslogSink(settings.url, ca=settings.ca)
        case "http":
            return HttpSink(fetch, settings.url, authorization=secret)
        case "otlp":
            return OtlpSink(fetch, settings.url, authorization=secret)
        case _:
            return None
