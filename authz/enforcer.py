"""The Casbin enforcer that judges: Casbin's matcher text, Casbin's effector, our candidates.

A subclass of `casbin.Enforcer`. The matcher is escaped and parsed by Casbin, checked against a list of
syntax that it may use, and compiled once to one function; Casbin's effector makes the verdict of what
matched. The index picks the candidates only for the matcher text that it is proven sound for; any other
text is judged over every row, slowly and with a warning. Rows change through `engine.Engine` only: what
Casbin offers to edit or reload policy is refused here, and so is its switch to allow everything.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn

import casbin
from casbin.effect import effect_to_bool
from casbin.effect.effector import Effector

from authz.conditions import Item, decode, in_words
from authz.errors import AuthzError, InvalidId, InvalidRow
from authz.graph import Graph, action_groups, subject_groups
from authz.index import Candidate, Index
from authz.kleene import Compiled, Reading, compile_condition, evaluate

# The matcher, as Casbin escapes it, that the index is sound for: it implies that a matching row's
# action, object and subject lie in the closures of the question's.
SOUND_MATCHER: Final = (
    "g3(r_act, p_act) && g2(r_obj, p_obj) && g(r_sub, p_sub)"
    ' && (p_cond == "" || when(p_cond, p_eft, r_ctx))'
)
DENY_WINS: Final = "some(where (p_eft == allow)) && !some(where (p_eft == deny))"
_TOKENS = {"r": ["sub", "obj", "act", "ctx"], "p": ["sub", "obj", "act", "eft", "cond", "id"]}
_SYNTAX = (
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Compare, ast.Eq, ast.NotEq),
    *(ast.In, ast.NotIn, ast.Name, ast.Load, ast.Constant, ast.Call),
)
_ALLOW: Candidate = ("", "", "", "allow", "", "")

Matcher = Callable[..., bool]
_TO_BOOL: Callable[[int], bool] = effect_to_bool


class ScanWarning(UserWarning):
    """The matcher is not the one that the index is sound for: every question looks at every row."""


class Finding:
    """What the rows came to on one question, in no order.

    `unmet` holds the allow rows that match but for their condition, `conditional` every row whose
    condition was looked at; `shadow` is the verdict with the shadow rows, None when none applies.
    """

    __slots__ = ("allowed", "allows", "conditional", "denies", "shadow", "shadowed", "unmet")

    def __init__(self) -> None:
        self.allowed = False
        self.allows: list[Candidate] = []
        self.denies: list[Candidate] = []
        self.unmet: list[Candidate] = []
        self.conditional: Sequence[Candidate] = ()
        self.shadow: bool | None = None
        self.shadowed: Sequence[Candidate] = ()


class Conditions:
    """The definitions in `c` rows; the same one may come from several rows, and goes with the last."""

    def __init__(self) -> None:
        self._compiled: dict[str, Compiled] = {}
        self._texts: dict[str, str] = {}
        self._times: dict[str, int] = {}

    def add(self, name: str, text: str) -> None:
        """Takes one definition. Raises: InvalidCondition."""
        if name not in self._compiled:
            self._compiled[name] = compile_condition(decode(text))
            self._texts[name] = text
        self._times[name] = self._times.get(name, 0) + 1

    def remove(self, name: str, text: str) -> None:
        """Lets go of one definition. Raises: InvalidRow."""
        times = self._times.get(name, 0) - 1
        if times < 0:
            raise InvalidRow(f"there is no condition `{name}`")
        if times:
            self._times[name] = times
        else:
            del self._times[name], self._compiled[name], self._texts[name]

    def outcomes(self, name: str, reading: Reading) -> list[tuple[Item, bool | None]]:
        """Each item of a condition and what it comes to, for an explanation; [] when it is not defined."""
        if name not in self._compiled:
            return []
        items = decode(self._texts[name]).items
        return [
            (item, evaluate((compiled,), reading, "allow"))
            for item, compiled in zip(items, self._compiled[name], strict=True)
        ]

    def said(self, name: str) -> str:
        """A condition in words, `time.hour LESS_THAN 8 and body.model IN ["a","b"]`; "" when it is not defined."""
        text = self._texts.get(name)
        return "" if text is None else in_words(decode(text))

    def fields(self, name: str) -> frozenset[str]:
        """The fields that a condition reads; none when it is not defined."""
        return frozenset(item.field for item in self._compiled.get(name, ()))

    def when(self, name: str, effect: str, reading: Reading) -> bool:
        """Casbin's `when`: the condition is met; an unknown one counts as no on an allow, yes on a deny."""
        outcomes = reading.outcomes
        if name in outcomes and not reading.context.unbound:
            met = outcomes[name]
        else:
            compiled = self._compiled.get(name)
            # A name without a definition is unknown, like a field without a value.
            met = None if compiled is None else evaluate(compiled, reading, effect)
            outcomes[name] = met
        return effect == "deny" if met is None else met


class Enforcer(casbin.Enforcer):
    """One enforcer for every question. Not safe for several threads; it is used on one loop."""

    model: Any  # Casbin's own classes have no types
    fm: Any
    eft: Any

    def __init__(self, model_text: str) -> None:
        """An enforcer of the model without any rows.

        Raises:
            AuthzError: the model does not define what Gatewarden's rows need, or its effect is not
                "deny wins", or its matcher uses something outside the allowed syntax.
        """
        super().__init__(self.new_model(text=model_text))  # type: ignore[no-untyped-call]
        model = self.model
        _check_definitions(model)
        self.subjects = Graph(subject_groups)
        self.objects = Graph()
        self.actions = Graph(action_groups)
        self.conditions = Conditions()
        self.index = Index()
        self.shadow = Index()
        for name, graph in (("g", self.subjects), ("g2", self.objects), ("g3", self.actions)):
            self.rm_map[name] = model["g"][name].rm = graph
        # Casbin's effector, asked once for each thing that it can be asked: whether there are allows, denies.
        self._verdicts = {
            (allows, denies): self._effect(allows, denies)
            for allows in (False, True)
            for denies in (False, True)
        }
        self.add_function("when", self.conditions.when)  # type: ignore[no-untyped-call]
        self._match: Matcher = self._compile(model["m"]["m"].value)
        self.indexed = _one_line(model["m"]["m"].value) == SOUND_MATCHER
        if not self.indexed:
            warnings.warn(
                "the matcher of the model is not the one that the index is sound for:"
                " every question looks at every row",
                ScanWarning,
                stacklevel=2,
            )

    def _compile(self, text: str) -> Matcher:
        """One function of the request's and the row's values, from the expression as Casbin parses it."""
        functions = {
            **self.fm.get_functions(),
            "g": self.subjects.has_link,
            "g2": self.objects.has_link,
            "g3": self.actions.has_link,
        }
        names = [*self.model["r"]["r"].tokens, *self.model["p"]["p"].tokens]
        tree = self._get_expression(text, functions).ast_parsed_value  # type: ignore[no-untyped-call]
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, _SYNTAX):
                raise AuthzError(f"the matcher uses `{type(node).__name__}`")
            if isinstance(node, ast.Call) and (
                not isinstance(node.func, ast.Name) or node.func.id not in functions
            ):
                raise AuthzError("the matcher calls a function that is not known")
            if isinstance(node, ast.Name) and id(node) not in called and node.id not in names:
                raise AuthzError(f"the matcher uses the name `{node.id}`")
        arguments = ast.arguments(
            posonlyargs=[ast.arg(name) for name in names],
            args=[],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[],
        )
        whole = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, tree)))
        made: Matcher = eval(compile(whole, "<matcher>", "eval"), {"__builtins__": {}, **functions})
        return made

    # --- questions ----------------------------------------------------------------------------------

    def judge(self, subject: str, obj: str, action: str, reading: Reading) -> Finding:
        """What the rows say to one question, with every row that matched.

        Raises:
            InvalidId: an empty id.
        """
        if not (subject and obj and action):
            raise InvalidId("a question has an empty id")
        found = Finding()
        conditional = self._sort_out(self.index, (subject, obj, action, reading), found)
        found.allowed = self._verdict(found.allows, found.denies)
        if len(self.shadow):
            self._judge_shadow((subject, obj, action, reading), found, conditional)
        if conditional:
            found.conditional = conditional
        return found

    def _sort_out(
        self, index: Index, question: tuple[str, str, str, Reading], found: Finding
    ) -> list[Candidate]:
        """Puts the rows that match into `found`; answers those whose condition was looked at."""
        subject, obj, action, reading = question
        match = self._match
        conditional: list[Candidate] = []
        if self.indexed:
            rows: Iterable[Candidate] = index.candidates(
                self.objects.closure(obj),
                self.actions.closure(action),
                self.subjects.closure(subject).keys(),
            )
        else:
            rows = index.rows()
        for row in rows:
            # No candidate, no call: stock Casbin would run the matcher on empty strings instead.
            if match(subject, obj, action, reading, *row):
                (found.allows if row[3] == "allow" else found.denies).append(row)
                if row[4]:
                    conditional.append(row)
            elif row[4] and match(subject, obj, action, reading, *row[:4], "", row[5]):
                conditional.append(row)
                if row[3] == "allow":
                    found.unmet.append(row)
        return conditional

    def _judge_shadow(
        self,
        question: tuple[str, str, str, Reading],
        found: Finding,
        conditional: list[Candidate],
    ) -> None:
        """A second verdict, over the rows and the shadow rows together, when any of those applies."""
        aside = Finding()
        looked_at = self._sort_out(self.shadow, question, aside)
        if aside.allows or aside.denies or looked_at:
            found.shadow = self._verdict(
                [*found.allows, *aside.allows], [*found.denies, *aside.denies]
            )
            found.shadowed = [*aside.denies, *aside.allows]
            conditional += looked_at

    def _verdict(self, allows: Sequence[Candidate], denies: Sequence[Candidate]) -> bool:
        """Casbin's effector on what matched."""
        return self._verdicts[bool(allows), bool(denies)]

    def _effect(self, allows: bool, denies: bool) -> bool:
        effects = set()
        if allows:
            effects.add(Effector.ALLOW)
        if denies:
            effects.add(Effector.DENY)
        return _TO_BOOL(self.eft.final_effect(effects))

    def no_deny(self, found: Finding) -> bool:
        """The verdict on an alias's target: as if an allow had matched, so that only a deny refuses."""
        return self._verdict([_ALLOW], found.denies)

    def enforce_ex(self, *rvals: Any) -> tuple[bool, list[str]]:
        """Casbin's interface: the verdict and one row that decided it, [] when none matched."""
        subject, obj, action, context = rvals
        if not isinstance(context, Reading):
            context = Reading(context, subject, obj)
        found = self.judge(subject, obj, action, context)
        decisive = sorted(found.denies or found.allows, key=lambda row: row[5])
        return found.allowed, list(decisive[0]) if decisive else []

    # --- what Casbin offers and Gatewarden refuses --------------------------------------------------

    def enable_enforce(self, enabled: bool = True) -> None:
        """Casbin would allow everything while switched off; there is no such switch here."""
        raise AuthzError("the enforcer cannot be switched off")

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AuthzError("policy changes by `Engine.apply` only")

    load_policy = load_filtered_policy = load_increment_filtered_policy = _refuse
    save_policy = clear_policy = build_role_links = set_model = load_model = _refuse
    set_role_manager = set_named_role_manager = set_effector = _refuse
    add_named_matching_func = add_named_domain_matching_func = _refuse
    _add_policy = _add_policies = _add_policies_ex = _refuse
    _update_policy = _update_policies = _update_filtered_policies = _refuse
    _remove_policy = _remove_policies = _remove_filtered_policy = _refuse
    _remove_filtered_policy_returns_effects = _refuse


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _check_definitions(model: Any) -> None:
    """The rows are written for these definitions; another shape would put values in the wrong place."""
    for section, names in (("r", ("r",)), ("p", ("p", "p2"))):
        for name in names:
            if name not in model.model.get(section, {}):
                raise AuthzError(f"the model does not define `{name}`")
            wanted = [f"{name}_{token}" for token in _TOKENS[section]]
            if model[section][name].tokens != wanted:
                raise AuthzError(
                    f"the model defines `{name}` otherwise than `{', '.join(_TOKENS[section])}`"
                )
    for name in ("g", "g2", "g3"):
        if name not in model.model.get("g", {}) or len(model["g"][name].tokens) != 2:
            raise AuthzError(f"the model does not define `{name} = _, _`")
    if _one_line(model["e"]["e"].value) != DENY_WINS:
        raise AuthzError("the effect of the model is not that a deny wins over any allow")
