"""The served control plane against its own OpenAPI document, by schemathesis: both kinds of data.

Bounded: a few examples for each operation, the same in every run. Valid data may still be refused (a name
in the body that differs from the path, a reference that leads nowhere), so acceptance is not a check;
everything else is: no 500, only described statuses, headers and bodies, invalid data refused, no answer
without a credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from proxy.api import openapi
from proxy.api.site import ROUTES
from tests.proxy.api.stack import Stack

SCHEMA = schemathesis.openapi.from_dict(openapi.build(ROUTES))
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
]
EXAMPLES = 8
# Names that exist, so that the answers with a body are reached as well.
REAL = {
    "users": "other@example.com",
    "teams": "search",
    "roles": "auditor",
    "provider-accounts": "acme",
    "virtual-accounts": "checkout",
    "policies": "everyone",
}
ALL_OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
# A stream of events ends only after a while: `test_record_tail.py` reads those.
OPERATIONS = [
    one
    for one in ALL_OPERATIONS
    if "text/event-stream" not in str(one.definition.raw["responses"]["200"])
]


def _real_name(path: str) -> dict[str, str] | None:
    collection = path.removeprefix("/api/v1/").partition("/")[0]
    return {"name": REAL[collection]} if "{name}" in path and collection in REAL else None


def _modes() -> Iterator[Any]:
    for operation in OPERATIONS:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            yield operation, mode


def _run(stack: Stack, operation: Any, mode: GenerationMode) -> None:
    """Blocking: `requests` against the server that runs in the test's loop."""
    auth = {"Authorization": f"Bearer {stack.tokens['ops']}"}
    real = _real_name(operation.path)
    strategies = [operation.as_strategy(mode)]
    if real is not None and operation.method != "delete":
        strategies.append(operation.as_strategy(mode, path_parameters=real))
    for strategy in strategies:

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def check(case: Any) -> None:
            response = case.call(base_url=stack.url, headers=auth)
            if b"bytes when reading" in response.content:
                return  # the parser's own refusal of a line; `proxy/server.py` words it
            if response.status_code == 413 and mode is GenerationMode.NEGATIVE:
                return  # refused for its size alone, before anything of it was read
            case.validate_response(response, checks=CHECKS, headers=auth)

        check()


async def test_the_api_is_what_its_document_says(stack: Stack) -> None:
    wrong: list[str] = []

    def run_all() -> None:
        for operation, mode in _modes():
            try:
                _run(stack, operation, mode)
            except Exception as error:  # collected, so that one run shows every deviation
                wrong.append(f"{operation.label} ({mode.value}): {error}")

    await asyncio.to_thread(run_all)
    assert not wrong, f"{len(wrong)} deviations\n\n" + "\n\n".join(wrong)


@pytest.mark.parametrize("operation", ALL_OPERATIONS, ids=lambda item: item.label)
async def test_nothing_answers_without_a_credential(stack: Stack, operation: Any) -> None:
    if not operation.definition.raw.get("security", True):
        return  # the one public route
    path = operation.path.replace("{name}", "search").replace("{id}", "x").replace("{record}", "x")
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        got = await stack.call(
            operation.method.upper(), path, who=None, data=b"{}", headers=headers
        )
        assert got.status == 401 and got.headers["www-authenticate"], got.raw
