"""Requests about tasks (MCP 2025-11-25): each is decided as the tool that the task runs.

A task of somebody else is unknown, and a list holds what `tasks/get` would answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from authz.conditions import Context
from authz.vocabulary import Action
from proxy.judge import Judge
from proxy.mcp import jsonrpc
from proxy.mcp.call import Answers, Call
from proxy.mcp.jsonrpc import Message
from proxy.mcp.legacy import result_of
from proxy.mcp.onward import Onward
from proxy.mcp.refusing import Refusing
from proxy.mcp.relaying import Awaited
from proxy.mcp.servers import Server
from proxy.mcp.tasks import Tasks
from proxy.mcp.view import OPEN


class TaskRequests:
    """Answers what clients ask about tasks."""

    def __init__(
        self, judge: Judge, answers: Answers, onward: Onward, refusing: Refusing, tasks: Tasks
    ) -> None:
        self._judge = judge
        self._answers = answers
        self._onward = onward
        self._refusing = refusing
        self._tasks = tasks

    async def one(self, call: Call, message: Message) -> web.StreamResponse:
        """`tasks/get`, `tasks/result`, `tasks/cancel`."""
        assert message.id is not None
        id = message.params.get("taskId")
        for server in call.scope.members:
            task = await self._tasks.find(server.stored, id, call.principal.id, call.exchange.now)
            if task is None:
                continue
            decision = self._judge.ask(
                call.exchange,
                call.principal,
                Action.MCP_TOOL_CALL,
                task.tool,
                Context(lazy=call.facts, unbound=OPEN),
            )
            if not decision:
                return await self._refusing.refused(call, message, decision, "task", str(id))
            return await self._onward.relay(
                call, message, server, Awaited(message.id, message.method, task.tool)
            )
        call.exchange.error = "unknown_task"
        return await self._refusing.hidden(call, message, "task", str(id))

    async def listed(self, call: Call, message: Message) -> web.StreamResponse:
        """`tasks/list`."""
        assert message.id is not None
        shown: list[Mapping[str, Any]] = []
        following: object = None
        if call.scope.single:  # several servers have no list in common
            server = call.scope.members[0]
            link = await self._onward.connect(call, server)
            async with link.exchange(message) as stream:
                result = await result_of(message, stream)
            listed = result.get("tasks")
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, dict) and await self._owns(call, server, one.get("taskId")):
                    shown.append(one)
            following = result.get("nextCursor")
        made: dict[str, Any] = {"tasks": shown}
        if isinstance(following, str):
            made["nextCursor"] = following
        call.exchange.outcome = "result"
        return await self._answers.body(call, jsonrpc.result(message.id, made))

    async def _owns(self, call: Call, server: Server, id: object) -> bool:
        """Whether `tasks/get` would be answered: the principal made the task, and may still use its tool."""
        task = await self._tasks.find(server.stored, id, call.principal.id, call.exchange.now)
        if task is None:
            return False
        context = Context(lazy=call.facts, unbound=OPEN)
        return bool(self._judge.look(call.principal, Action.MCP_TOOL_CALL, [task.tool], context))
