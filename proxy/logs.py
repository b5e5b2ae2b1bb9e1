"""Structured logs: one JSON object a line on standard error, or colours on a terminal.

The journal is the access log; what stands here is what an operator must notice. Secrets never reach a
log: values of fields whose name says secret, token, key or authorization are masked here once more, what
looks like one of our tokens is cut out of every text, and a traceback never shows the values of locals.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from identity.tokens import redact

_SECRET_WORDS = ("secret", "token", "api_key", "authorization", "password", "cookie")


def _mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS) and not name.endswith("_id"):
            event[name] = "***"
    return event


def _cut(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cuts tokens out of texts; after tracebacks have become one."""
    for name, value in event.items():
        if isinstance(value, str) and "gw_" in value:
            event[name] = redact(value)
    return event


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _mask,
]


def configure(level: str, *, terminal: bool | None = None) -> None:
    """Set logging up for this process; libraries' records take the same way out."""
    on_terminal = sys.stderr.isatty() if terminal is None else terminal
    last = _ours(level, on_terminal)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.processors.format_exc_info, _cut],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("casbin").setLevel(logging.WARNING)


def _ours(level: str, on_terminal: bool) -> Any:
    """Sets our own loggers up; the last processor, which makes the line."""
    # Not the pretty traceback of a terminal: it prints locals, and those may hold a credential or a body.
    last: Any = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *_SHARED,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _cut,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    return last


def get(name: str) -> Any:
    """A logger; `name` is the part of the house that speaks."""
    # Lazy: modules ask for their logger when they are imported, before anything is configured.
    return structlog.get_logger(part=name)


# Who never configures anything (a command on the host) must not get the library's own ways: those write
# to standard output, and show locals.
_ours("info", on_terminal=True)
