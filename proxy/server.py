"""The aiohttp server around both planes: which of them gets a request, and what is said to nonsense.

The data plane gets its own request type and no framework; every other path goes to the control plane's
application, through its public server object. What the parser refuses is answered in JSON as well.
Request bodies are never decompressed, and nothing is ever upgraded to another protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from proxy import logs
from proxy.gateway import Gateway
from proxy.mcp.paths import is_mcp

log = logs.get("server")

DATA_PREFIX = "/v1/"
MAX_LINE = 8190  # bytes of the request line, and of one header
MAX_HEADERS = 128
KEEP_ALIVE = 75.0  # seconds
LINGER = 5.0  # seconds in which the rest of a refused body may arrive, so that the answer is read


class DataRequest(web.BaseRequest):
    """A request of the data plane. Its body is read by `intake.py`, with limits of its own."""


class _Connection(web.RequestHandler):
    """One connection; its own errors are answered in JSON."""

    __slots__ = ("_gateway", "_held")

    def __init__(self, manager: Server, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE,
            access_log=None,  # type: ignore[arg-type]  # the journal is the access log
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            lingering_time=LINGER,
            auto_decompress=False,
        )
        self._gateway = gateway
        self._held = False

    def pause_reading(self) -> None:
        """A body fills up faster than it is read."""
        self._held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """There is room again. Asked after each read of a body, most of which nothing was held back for:
        the parser would then be started for nothing.
        """
        if self._held:
            self._held = False
            super().resume_reading(resume_parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refused, or what a handler did not catch.

        The text of a parser's `exc` repeats bytes of the caller, so it stays here.
        """
        if isinstance(exc, ConnectionError):
            raise exc  # the caller is gone: its record is written, and there is nobody to answer
        if status >= 500:
            log.error("unexpected_error", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        long = type(exc).__name__ == "LineTooLong" or status == 431
        return self._gateway.malformed(request, 431 if long else status)


class Server(web.Server):
    """Serves both planes on one port."""

    def __init__(self, gateway: Gateway, control: web.Server | None = None) -> None:
        """`control` is the `server` of the control plane's `AppRunner`, once that is set up."""
        super().__init__(self._handle, request_factory=self._request, handler_cancellation=True)
        self._gateway = gateway
        self._control_request: Callable[..., web.BaseRequest] | None = None
        self._control_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
        if control is not None:
            self._control_request = control.request_factory
            self._control_handler = control.request_handler

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._gateway, self._loop)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if self._control_request is None or _is_data(message.path):
            return DataRequest(message, payload, protocol, writer, task, self._loop)
        return self._control_request(message, payload, protocol, writer, task)

    def _handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        # Hands on what it would else await: a coroutine between is resumed at each step of a request.
        if type(request) is DataRequest:
            return self._gateway.handle(request)
        return self._control_handler(request)


def _is_data(target: str) -> bool:
    """Whether the data plane answers a request target, decided by its path alone."""
    if target.startswith(DATA_PREFIX):
        return True
    if target.startswith("/"):
        return target.partition("?")[0] == "/v1" or is_mcp(target)
    # RFC 9112 3.2.2, 3.2.4: absolute form, authority form and `*`. No tool of the control plane
    # sends them, so the strict table answers.
    return True
