"""What every command shares: `--json`, errors without a traceback, exit codes, the client of this shell.

Exit codes: 0 done, 1 error (also wrong options), 2 changes pending. With `--json` an error is one JSON
object on standard error. The commands themselves are in `cli.py` (this host) and `remote.py` (a gateway).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec

import click

from authz.errors import GatewardenError
from policies.errors import InvalidDocuments
from proxy import printing
from proxy.client import Client, ClientError, Reply

P = ParamSpec("P")
PENDING = 2

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


class Commands(click.Group):
    """A group whose usage errors exit with 1: 2 says that changes are pending, and scripts read it."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _Usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _Usage():
            return super().invoke(ctx)


class _Usage:
    """Gives the usage errors of its block our exit code."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, click.UsageError):
            vars(error)["exit_code"] = 1  # declared for the class: this is about one of them


def reports(command: Callable[P, None]) -> Callable[P, None]:
    """Print errors of ours as what they are, without a traceback; exit code 1."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except GatewardenError as error:
            _fail(error, json_=bool(kwargs.get("json_")))

    return wrapped


def _fail(error: GatewardenError, *, json_: bool) -> NoReturn:
    problems = error.problems if isinstance(error, InvalidDocuments | ClientError) else ()
    if json_:
        printing.failed_json(error, problems)
    else:
        printing.problems(problems)
        printing.failed(error, problems)
    sys.exit(1)


wait_ = click.option(
    "--wait",
    is_flag=True,
    help="Return once all live processes decide by it; exit 1 if not in 5 s.",
)


def waited(reply: Reply, *, json_: bool) -> None:
    """Says how many processes decide by a change that was waited for; exits with 1 if not all do."""
    count, behind = reply.applied
    if count and not json_:
        printing.say(f"in force in {count} processes")
    if behind:
        printing.warn(f"the change is made, but not yet in force in: {behind}")
        sys.exit(1)


def client(token: str | None = None, *, wait: bool = False) -> Client:
    """The gateway of `GATEWARDEN_URL`, with `token` or that of `GATEWARDEN_TOKEN`.

    Raises:
        ClientError: no usable URL, or no token.
    """
    return Client(
        os.environ.get("GATEWARDEN_URL", "http://127.0.0.1:8080"),
        os.environ.get("GATEWARDEN_TOKEN", "") if token is None else token,
        wait=wait,
    )
