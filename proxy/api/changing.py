"""How a call becomes a change: documents from a body, preconditions, plan, commit, and the answer's plan.

Shared by documents, apply and tokens. Nothing here decides who may: gates were passed before, and the
committer authorises each row. A change that changes nothing is answered and not written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from authz.rows import Row
from policies.change import Change, Drift, Plan, Source
from policies.documents import INTERNAL_TYPES, Document
from policies.errors import CasesFailed, Conflict, InvalidDocuments, Problem
from policies.loader import REQUEST, Loaded, load_mapping, load_text
from policies.naming import Key, plain, plain_key
from policies.placing import numbered, placed
from proxy.api.body import YAML_TYPES, decode, parse_json
from proxy.api.models import DocumentName, DriftAnswer, EndingAnswer, PlanAnswer
from proxy.api.problem import ApiError, PreconditionFailed, findings
from proxy.api.routes import Call

MAX_ROWS = 1000
PERSON = "user:"
_ETAG = re.compile(r'(?:W/)?"([0-9]{1,18})"\Z')


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change: its plan, the epoch at which it holds, whether anything changed (or would)."""

    plan: Plan
    epoch: int
    changed: bool
    warnings: tuple[Problem, ...] = ()
    emails: Mapping[str, str] = field(default_factory=dict)  # of the users in the plan, by id
    cases_failed: tuple[Problem, ...] = ()  # of a dry run: what would refuse the change


def documents_of(call: Call) -> Loaded:
    """The documents of a JSON or YAML body, checked each by itself.

    Raises:
        BadBody: not JSON, not UTF-8. InvalidDocuments: with every finding, at line and column.
    """
    text = decode(call.raw)
    if call.media in YAML_TYPES:
        return _checked(load_text(text, REQUEST))
    parse_json(call.raw)  # what must never reach a document: operators, surrogates, deep nesting
    return _checked(load_text(text, REQUEST, json=True))


def manifests_of(
    manifests: Iterable[Mapping[str, Any]], tell: Callable[[int], None] = lambda _: None
) -> Loaded:
    """The documents of decoded manifests; `tell` hears how many were read.

    Raises:
        InvalidDocuments: with every finding; the file says which manifest (`request[2]`).
    """
    whole = Loaded()
    for number, manifest in enumerate(manifests):
        loaded = load_mapping(manifest, numbered(number))
        whole.documents += loaded.documents
        whole.problems += loaded.problems
        tell(number + 1)
    return _checked(whole)


def _checked(loaded: Loaded) -> Loaded:
    problems = list(loaded.problems)
    for located in loaded.documents:
        if located.document.type in INTERNAL_TYPES:
            problems.append(
                Problem(
                    located.file,
                    *located.place,
                    "internal_type",
                    f"a `{located.document.type}` is not a document that can be applied",
                    "use the token routes",
                )
            )
    if any(problem.severity == "error" for problem in problems):
        raise InvalidDocuments(tuple(sorted(problems)))
    return loaded


def change_of(
    call: Call,
    *,
    puts: tuple[Document, ...] = (),
    deletes: tuple[Key, ...] = (),
    expect: Mapping[Key, int] | None = None,
    source: Source = Source.MANUAL,
    comment: str = "",
    revision: str = "",
    take_over: bool = False,
    reassign_to: str = "",
    cascade: bool = False,
) -> Change:
    """The change that a call asks for, in the name of its principal."""
    return Change(
        actor=call.principal.id,
        source=source,
        request_id=call.request_id,
        puts=puts,
        deletes=deletes,
        expect=dict(expect or {}),
        comment=comment,
        revision=revision,
        take_over=take_over,
        reassign_to=reassign_to,
        cascade=cascade,
    )


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def not_modified(call: Call, version: int) -> bool:
    """Whether `If-None-Match` names this version."""
    raw = call.request.headers.get("If-None-Match")
    return raw is not None and (raw.strip() == "*" or version in _versions("If-None-Match", raw))


def expected(call: Call, key: Key, version: int) -> dict[Key, int]:
    """What the preconditions demand, for the commit to compare with; `version` is 0 if it is missing.

    Raises:
        PreconditionFailed: they do not hold now. ApiError: a header that is no ETag.
    """
    headers = call.request.headers
    wanted: dict[Key, int] = {}
    match = headers.get("If-Match")
    if match is not None:
        if match.strip() == "*":
            if version == 0:
                raise PreconditionFailed("`If-Match: *`: it does not exist")
        elif version not in _versions("If-Match", match):
            raise PreconditionFailed(
                f"`If-Match` names another version than {version}", hint="read it again"
            )
        wanted[key] = version
    none_match = headers.get("If-None-Match")
    if none_match is not None:
        if none_match.strip() == "*":
            if version:
                raise PreconditionFailed("`If-None-Match: *`: it exists already")
            wanted[key] = 0
        elif version in _versions("If-None-Match", none_match):
            raise PreconditionFailed(f"`If-None-Match` names version {version}, which stands")
    return wanted


def _versions(name: str, raw: str) -> set[int]:
    found: set[int] = set()
    for part in raw.split(","):
        matched = _ETAG.match(part.strip())
        if matched is None:
            raise ApiError(
                f"`{name}` is not an ETag of this API",
                hint='it is the version in quotes, as `"3"`',
                code="invalid_header",
            )
        found.add(int(matched[1]))
    return found


async def carry_out(
    call: Call, change: Change, *, dry_run: bool = False, loaded: Loaded | None = None
) -> Outcome:
    """Plan a change and commit it, unless it changes nothing or is a dry run.

    A dry run is authorised as the commit would be: what somebody may not do, he may not preview.
    `loaded` is where the documents of the change were written, for the findings about them.

    Raises:
        InvalidDocuments, NotAuthorised, Conflict, GuardRefused, CasesFailed; PreconditionFailed for a conflict with
        a version that the caller named.
    """
    written = loaded or Loaded()
    try:
        return await _carry_out(call, change, dry_run, written)
    except InvalidDocuments as error:
        raise InvalidDocuments(placed(error.problems, written)) from error
    except CasesFailed as error:
        raise CasesFailed(placed(error.problems, written)) from error
    except Conflict as error:
        # Somebody was first after the precondition had been looked at: it does not hold all the same.
        headers = call.request.headers
        if ("If-Match" in headers or "If-None-Match" in headers) and error.code == Conflict.code:
            raise PreconditionFailed(error.message, hint=error.hint or "read it again") from error
        raise


async def _carry_out(call: Call, change: Change, dry_run: bool, written: Loaded) -> Outcome:
    changes = call.runtime.changes
    asked = len(change.puts) + len(change.deletes)
    call.progress.at("plan", 0, asked)
    draft = await changes.draft(change, call.principal, call.context)
    plan = draft.plan
    call.progress.at("plan", asked, asked)
    warnings = tuple(sorted({*written.problems, *placed(plan.warnings, written)}))
    users = _users_of(plan)
    # Before the commit: who is deleted has no address afterwards.
    known = await changes.people(users) if users else {}
    emails = {person.id: person.email for person in (*known.values(), *plan.people)}
    if plan.empty:
        return Outcome(plan, changes.engine.epoch, False, warnings, emails)
    if dry_run:
        await changes.authorise(plan, call.principal, call.context)
        failing = await changes.failing_cases(plan, call.principal, call.context)
        return Outcome(plan, changes.engine.epoch, True, warnings, emails, placed(failing, written))
    call.progress.at("write", 0, len(plan.documents))
    entry = await changes.commit(change, call.principal, call.now, call.context, draft)
    call.progress.at("write", len(plan.documents), len(plan.documents))
    return Outcome(plan, entry.epoch, True, warnings, emails)


def plan_answer(outcome: Outcome, named: Iterable[Key] = ()) -> PlanAnswer:
    """The plan as it goes out. `named` are the plain keys that the caller wrote: what of them stays."""
    plan = outcome.plan
    shown = [item for item in plan.documents if item.key[0] not in INTERNAL_TYPES]

    def name(key: Key) -> DocumentName:
        family, plain_name = plain_key(key)
        return DocumentName(type=family, name=outcome.emails.get(plain_name, plain_name))

    touched = {
        (found.type, found.name.casefold()) for found in (name(item.key) for item in shown)
    } | {(family, ident.casefold()) for family, ident in (plain_key(item.key) for item in shown)}
    added, removed = _shown(plan.added), _shown(plan.removed)
    return PlanAnswer(
        created=[name(item.key) for item in shown if item.before is None],
        updated=[name(i.key) for i in shown if i.before is not None and i.after is not None],
        deleted=[name(item.key) for item in shown if item.after is None],
        unchanged=[
            name(key) for key in sorted(set(named)) if (key[0], key[1].casefold()) not in touched
        ],
        rows_added=len(plan.added),
        rows_removed=len(plan.removed),
        added=added,
        removed=removed,
        warnings=findings(outcome.warnings[:MAX_ROWS]),
        alarms=list(plan.alarms),
        cases_failed=findings(outcome.cases_failed),
        drift=[_drift(item, outcome.emails) for item in plan.drift[:MAX_ROWS]],
        endings=[
            EndingAnswer(
                team=item.team,
                accounts=list(item.accounts),
                reassigned=list(item.reassigned),
                tokens=item.tokens,
                people=item.people,
            )
            for item in plan.endings
        ],
    )


def _drift(item: Drift, emails: Mapping[str, str]) -> DriftAnswer:
    family, name = item.key
    element = item.element
    if element.startswith(PERSON):
        element = emails.get(element.removeprefix(PERSON), element)
    return DriftAnswer(
        type=family,
        name=emails.get(name, name),
        field=item.field,
        element=plain(element),
        held_by=list(item.held_by),
    )


def _users_of(plan: Plan) -> list[str]:
    """The ids of the users whom the answer names."""
    found = {item.key[1] for item in plan.documents if item.key[0] == "user"}
    for drift in plan.drift[:MAX_ROWS]:
        if drift.key[0] == "user":
            found.add(drift.key[1])
        if drift.element.startswith(PERSON):
            found.add(drift.element.removeprefix(PERSON))
    return sorted(found)


def _shown(rows: Iterable[Row]) -> list[list[str]]:
    return [[item.ptype, *item.values] for item in sorted(rows)[:MAX_ROWS]]
