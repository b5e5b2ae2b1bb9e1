"""The process that answers long questions, from inside: it reads questions, and writes answers.

It opens the store that it is told, holds no key and commits nothing, and ends when its input does, so it
never outlives the process that asks. Both pipes carry frames: eight bytes of length, then a pickle; only the
process that started this one can write to them.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import struct
import sys
from typing import Any, BinaryIO

from authz.errors import GatewardenError
from proxy import logs
from proxy.questions import Questions
from store.errors import StoreUnavailable
from store.opening import file_of, stores
from store.port import Store

log = logs.get("inquiry")
LENGTH = struct.Struct(">Q")
NAMES = frozenset(
    {
        "place",
        "moment",
        "who",
        "can",
        "explain",
        "difference",
        "replay",
        "replayed",
        "review",
        "casbin",
    }
)

# An answer: ("done", value), ("error", code, message, hint), or ("failed",) for what nobody expected.
Said = tuple[Any, ...]


def frame(value: object) -> bytes:
    """A value as it goes over a pipe."""
    raw = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(raw)) + raw


def _read(pipe: BinaryIO) -> Any:
    """The next value; None at the end."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return pickle.loads(pipe.read(LENGTH.unpack(head)[0]))


class _Worker:
    """The store, opened at the first question, and the questions on it."""

    def __init__(self, url: str, model_text: str) -> None:
        self._url = url
        self._model_text = model_text
        self._store: Store | None = None
        self._questions: Questions | None = None

    async def answer(self, name: str, given: dict[str, Any]) -> Said:
        """The answer to one question; what goes wrong is an answer, too."""
        try:
            if name not in NAMES:
                raise LookupError(name)
            questions = self._questions or await self._open()
            return ("done", await getattr(questions, name)(**given))
        except GatewardenError as error:
            return ("error", error.code, error.message, error.hint)
        except Exception:
            log.exception("a question failed", question=name)
            return ("failed",)

    async def _open(self) -> Questions:
        path = file_of(self._url)
        if path is not None and not path.exists():
            raise StoreUnavailable("the file of the store is gone")  # nothing is made from here
        store, _ = stores(self._url)
        await store.open()
        self._store = store
        self._questions = Questions(store, self._model_text)
        return self._questions

    async def close(self) -> None:
        if self._questions is not None:
            self._questions.close()
        if self._store is not None:
            await self._store.close()


def serve(pipe_in: BinaryIO, pipe_out: BinaryIO) -> None:
    """Answers until the input ends. The first frame names the store and holds the model."""
    first = _read(pipe_in)
    if first is None:
        return
    worker = _Worker(*first)
    with asyncio.Runner() as runner:
        try:
            while (asked := _read(pipe_in)) is not None:
                pipe_out.write(frame(runner.run(worker.answer(*asked))))
                pipe_out.flush()
        except BrokenPipeError:
            return
        finally:
            runner.run(worker.close())


def main() -> None:
    """The program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which then ends us
    # What prints must not come between the answers.
    pipe_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, pipe_out)


if __name__ == "__main__":
    main()
