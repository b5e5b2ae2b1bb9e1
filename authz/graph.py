"""The role manager: who belongs to what, for subjects (`g`), objects (`g2`) and actions (`g3`).

A subclass of Casbin's `RoleManager` with memoised closures. A closure is a dict `id -> the id it was
reached from`, so one look-up answers a link, one intersection finds candidates, and a membership chain
costs nothing to keep. Names that no row mentions are answered and forgotten. A change drops exactly the
closures that it can alter, never the whole memory for one link.

Cycles and chains that are too long are refused by `cycles`, which a plan asks before it commits; rows
that were committed are taken as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator

from casbin.rbac.role_manager import RoleManager

from authz.errors import InvalidRow
from authz.overlay import Overlay
from authz.vocabulary import ACTIONS

# More closures than this are not dropped one by one: the memory is set aside and taken apart in steps.
WIDE = 512

_IMPLICIT = ("any:", "*")  # groups that ids are in without a row

Closure = dict[str, str]
Implied = Callable[[str], tuple[str, ...]]


def no_groups(name: str) -> tuple[str, ...]:
    """Objects have no implicit groups: every parent is a row."""
    return ()


def subject_groups(name: str) -> tuple[str, ...]:
    """`any:user` or `any:virtualaccount`, and `any:subject`, by the kind of the id."""
    if name.startswith("user:"):
        return ("any:user", "any:subject")
    if name.startswith("virtualaccount:"):
        return ("any:virtualaccount", "any:subject")
    return ()


def action_groups(name: str) -> tuple[str, ...]:
    """Every action is matched by a row on `*`; a bundle is none, though `role:assign` is an action."""
    return ("*",) if name in ACTIONS else ()


class Graph(RoleManager):
    """One graph of links `name -> group`, and `implied` groups that need no rows."""

    def __init__(self, implied: Implied = no_groups) -> None:
        self._implied = implied
        # A single parent stands as itself: most of 100,000 users have few, and a tuple costs 48 bytes.
        self._parents: dict[str, str | tuple[str, ...]] = {}
        # The members of each group; a dict of ten is a third of a set of ten.
        self._children: dict[str, dict[str, bool]] = {}
        self._closures: dict[str, Closure] = {}
        self._retired: list[dict[str, Closure]] = []
        # The name asked last: one question asks for the same name at every row, known or not.
        self._last: str | None = None
        self._last_closure: Closure = {}

    # --- Casbin's interface -------------------------------------------------------------------------

    def clear(self) -> None:
        """Casbin calls this before it reloads; this role manager is never reloaded in place."""
        raise InvalidRow("the graph changes by rows only")

    def has_link(self, name1: str, name2: str, *domain: str) -> bool:
        """Whether name1 is name2 or belongs to it through any chain."""
        if name1 is not self._last:
            self.closure(name1)
        return name2 in self._last_closure

    def add_link(self, name1: str, name2: str, *domain: str) -> None:
        """One link more. The same link may come from two rows, and then goes with the second."""
        name1, name2 = sys.intern(name1), sys.intern(name2)
        self._changed(name1)
        had = self._parents.get(name1)
        self._parents[name1] = name2 if had is None else _with(had, name2)
        children = self._children.get(name2)
        if children is None:
            self._children[name2] = {name1: True}
        else:
            children[name1] = True

    def delete_link(self, name1: str, name2: str, *domain: str) -> None:
        """One link less.

        Raises:
            InvalidRow: there is no such link.
        """
        parents = _without(self._parents.get(name1), name1, name2)
        self._changed(name1)
        if parents is None:
            del self._parents[name1]
        else:
            self._parents[name1] = parents
        if parents != name2 and (not isinstance(parents, tuple) or name2 not in parents):
            children = self._children[name2]
            children.pop(name1, None)
            if not children:
                del self._children[name2]

    def get_roles(self, name: str, *domain: str) -> list[str]:
        """The groups that rows name for `name` directly."""
        return list(self.parents(name))

    def get_users(self, name: str, *domain: str) -> list[str]:
        """The direct members of `name` that rows name, in order of their ids."""
        return sorted(self._children.get(name, ()))

    def print_roles(self) -> None:
        """Casbin's log hook: nothing is printed."""

    # --- what the engine asks -----------------------------------------------------------------------

    def closure(self, name: str) -> Closure:
        """`name` and all it belongs to, nearest first, each with the id it was reached from."""
        if name is self._last:
            return self._last_closure
        made = self._closures.get(name)
        if made is None:
            made = {name: name}
            todo = [name]
            # Grows while it is walked: breadth first, so that the chain kept for each group is a shortest.
            for one in todo:
                for parent in (*self.parents(one), *self._implied(one)):
                    if parent not in made:
                        made[parent] = one
                        todo.append(parent)
            if name in self._parents:
                self._closures[sys.intern(str(name))] = made
                self._release(2)
        self._last, self._last_closure = name, made
        return made

    def parents(self, name: str) -> tuple[str, ...]:
        """The groups that rows name for `name`, in order of their ids."""
        found = self._parents.get(name)
        if found is None:
            return ()
        return (found,) if isinstance(found, str) else found

    def children(self, name: str) -> Collection[str]:
        """The direct members of `name` that rows name, in no order: not to be kept over a change."""
        return self._children.get(name, {}).keys()

    def __contains__(self, name: str) -> bool:
        """Whether any link mentions `name`, on either side."""
        return name in self._parents or name in self._children

    def names(self) -> Iterator[str]:
        """Every name that a link mentions."""
        yield from self._parents
        yield from (name for name in self._children if name not in self._parents)

    def links(self) -> Iterator[tuple[str, str]]:
        """Every link."""
        for name in self._parents:
            for parent in self.parents(name):
                yield name, parent

    def chain(self, name: str, group: str) -> tuple[str, ...]:
        """The ids from `name` to `group`, both included; () when it does not belong to it."""
        if group == name:
            return (name,)
        closure = self.closure(name)
        if group not in closure:
            return ()
        chain = [group]
        while group != name:
            group = closure[group]
            chain.append(group)
        chain.reverse()
        return tuple(chain)

    def members(self, group: str, limit: int) -> list[str]:
        """Up to `limit` ids below `group` by rows, nearest first; implicit members are not listed."""
        found = {group: None}
        todo = [group]
        for one in todo:
            for child in self.get_users(one):
                if child not in found:
                    found[child] = None
                    todo.append(child)
            if len(found) > limit:
                break
        return list(found)[1 : limit + 1]

    # --- change -------------------------------------------------------------------------------------

    def load(self, links: Iterable[tuple[str, ...]]) -> None:
        """Takes many links at once into an empty graph."""
        parents, children, intern = self._parents, self._children, sys.intern
        for child, parent in links:
            child, parent = intern(child), intern(parent)
            had = parents.get(child)
            parents[child] = parent if had is None else _with(had, parent)
            known = children.get(parent)
            if known is None:
                children[parent] = {child: True}
            else:
                known[child] = True

    def staged(self) -> Staged:
        """A change built aside: nothing is seen of it before `Staged.commit`."""
        return Staged(self)

    def _changed(self, name: str) -> None:
        """Forgets the closures that a link of `name` is in."""
        self._last = None
        if name in self._children or name.startswith(_IMPLICIT):
            self._invalidate((name,))
        else:
            self._closures.pop(name, None)

    def _invalidate(self, names: Iterable[str]) -> None:
        """Forgets the closures of `names` and of everything below them."""
        closures = self._closures
        if not closures:
            return
        seen = set(names)
        todo = list(seen)
        for one in todo:
            if one.startswith(_IMPLICIT):
                # Implicit members have no rows to find them by: all closures may be concerned.
                self._retire()
                return
            below = self._children.get(one)
            if below:
                if len(below) > WIDE or len(todo) > WIDE * 8:
                    self._retire()
                    return
                for child in below:
                    if child not in seen:
                        seen.add(child)
                        todo.append(child)
        for one in todo:
            closures.pop(one, None)

    def _retire(self) -> None:
        # Freeing 100,000 closures at once would stall the loop for tens of milliseconds.
        self._retired.append(self._closures)
        self._closures = {}

    def _release(self, count: int) -> None:
        retired = self._retired
        while retired and count:
            if retired[-1]:
                retired[-1].popitem()
                count -= 1
            else:
                retired.pop()


class Staged:
    """A change of many links, built aside; `commit` puts it in place in one step."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parents: dict[str, str | tuple[str, ...] | None] = {}
        self._children: dict[str, Overlay[bool]] = {}

    def add_link(self, name: str, group: str) -> int:
        """One link more; answers how many members had to be copied for it."""
        name, group = sys.intern(name), sys.intern(group)
        self._parents[name] = _with(self._parents_of(name), group)
        return self._children_of(group).put(name, True)

    def delete_link(self, name: str, group: str) -> int:
        """One link less; answers how many members had to be copied for it.

        Raises:
            InvalidRow: there is no such link.
        """
        left = _without(self._parents_of(name), name, group)
        self._parents[name] = left
        if left == group or (isinstance(left, tuple) and group in left):
            return 0
        return self._children_of(group).put(name, None)

    def commit(self) -> list[object]:
        """Puts the change in place; answers what it replaced, for the caller to let go of in steps."""
        graph = self._graph
        # Whose closure changes is below a changed name by links that are in the old and the new graph.
        graph._last = None
        graph._invalidate(self._parents)
        for name, parents in self._parents.items():
            if parents is None:
                graph._parents.pop(name, None)
            else:
                graph._parents[name] = parents
        replaced: list[object] = []
        for group, staged in self._children.items():
            old, new = graph._children.get(group), staged.commit()
            if old is not None and old is not new:
                replaced.append(old)
            if new:
                graph._children[group] = new
            else:
                graph._children.pop(group, None)
        return replaced

    def parents(self, name: str) -> tuple[str, ...]:
        """The groups of `name` once the change is made."""
        found = self._parents_of(name)
        if found is None:
            return ()
        return (found,) if isinstance(found, str) else found

    def children(self, name: str) -> Iterable[str]:
        """The direct members of `name` once the change is made."""
        staged = self._children.get(name)
        return self._graph._children.get(name, {}) if staged is None else staged

    def _parents_of(self, name: str) -> str | tuple[str, ...] | None:
        if name in self._parents:
            return self._parents[name]
        return self._graph._parents.get(name)

    def _children_of(self, name: str) -> Overlay[bool]:
        staged = self._children.get(name)
        if staged is None:
            staged = self._children[name] = Overlay(self._graph._children.get(name, {}))
        return staged


def _with(had: str | tuple[str, ...] | None, parent: str) -> str | tuple[str, ...]:
    """The parents with one more, kept in order of their ids so that every replica finds the same chain."""
    if had is None:
        return parent
    return tuple(sorted((had, parent) if isinstance(had, str) else (*had, parent)))


def _without(
    had: str | tuple[str, ...] | None, name: str, parent: str
) -> str | tuple[str, ...] | None:
    if had == parent:
        return None
    if not isinstance(had, tuple) or parent not in had:
        raise InvalidRow(f"`{name}` does not belong to `{parent}`")
    at = had.index(parent)
    left = had[:at] + had[at + 1 :]
    return left if len(left) > 1 else left[0]
