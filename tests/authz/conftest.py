"""What the tests of the decision core share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

import conf
from authz.engine import Engine
from authz.rows import Row, row


@dataclass(frozen=True)
class Someone:
    """An asker."""

    id: str
    bound: str | None = None
    token: str | None = None


@pytest.fixture(scope="session")
def model_text() -> str:
    return (Path(conf.__file__).parent / "model.conf").read_text()


@pytest.fixture
def someone() -> type[Someone]:
    return Someone


@pytest.fixture
def engine_of(model_text: str) -> Callable[..., Engine]:
    """An engine of rows written as lists, `["g", "user:u-1", "team:ml"]`."""

    def make(rows: Iterable[Iterable[str]], epoch: int = 1) -> Engine:
        return Engine.load(model_text, rows_of(rows), epoch)

    return make


def rows_of(rows: Iterable[Iterable[str]]) -> list[Row]:
    return [row(*map(str, one)) for one in rows]
