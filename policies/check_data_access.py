"""What is wrong with the rules of data access: subjects, types, scopes and filters.

A filter that no record can ever meet is refused, and so is one that says less than it seems to. One part of
`validate`; nothing here makes rows. What rules come to: `compile_rules`.
"""

from __future__ import annotations

from authz.conditions import MAX_VALUES
from policies.check_rules import Path, unique
from policies.documents import DataAccessConfig, DataFilter, DataRule, Document
from policies.loader import Located
from policies.mentions import Mentions
from policies.naming import EVERYONE


def check_data_access(doc: Located[Document], config: DataAccessConfig, refs: Mentions) -> None:
    """Every rule of a data access document."""
    unique(doc, "rules", [rule.id for rule in config.rules], refs)
    if not config.rules:
        refs.found.warn(
            doc, ("rules",), "empty_list", "without rules this document lets nobody read any record",
            "add a rule, as `{id: own, subjects: [team:everyone], data_types: [traces], scope: own_data}`",
        )  # fmt: skip
    for index, rule in enumerate(config.rules):
        _data_rule(doc, ("rules", index), rule, refs)


def _data_rule(doc: Located[Document], path: Path, rule: DataRule, refs: Mentions) -> None:
    refs.subjects(doc, (*path, "subjects"), rule.subjects)
    for name in ("subjects", "data_types"):
        if not getattr(rule, name):
            refs.found.warn(
                doc, (*path, name), "empty_list", f"a rule with no {name} grants nobody anything",
                "name some, or remove the rule",
            )  # fmt: skip
    if rule.filters and rule.scope != "all_data":
        refs.found.error(
            doc,
            (*path, "filters"),
            "filters_scope",
            "filters are for the scope `all_data` only",
            "remove the filters, or write `scope: all_data`",
        )
    for index, one in enumerate(rule.filters):
        _data_filter(doc, (*path, "filters", index), one, refs)


def _data_filter(doc: Located[Document], path: Path, one: DataFilter, refs: Mentions) -> None:
    if one.field == "metadata":
        _metadata_filter(doc, path, one, refs)
    else:
        _maker_filter(doc, path, one, refs)
    if len(one.value) > MAX_VALUES:
        refs.found.error(
            doc, (*path, "value"), "too_many", f"a filter has at most {MAX_VALUES} values",
            "write a rule for each part of them",
        )  # fmt: skip
    if not one.value:
        refs.found.warn(
            doc, (*path, "value"), "empty_list", "a filter without values lets no record through",
            "name values, or remove the filter to let every record through",
        )  # fmt: skip


def _metadata_filter(doc: Located[Document], path: Path, one: DataFilter, refs: Mentions) -> None:
    if not one.key:
        refs.found.error(
            doc, path, "missing_field", "a filter on metadata names a `key`", "add `key:`"
        )


def _maker_filter(doc: Located[Document], path: Path, one: DataFilter, refs: Mentions) -> None:
    for name in ("key", "trust"):
        if getattr(one, name) is not None:
            refs.found.error(
                doc, (*path, name), "unknown_field", f"a filter on `created_by` has no `{name}`",
                f"remove `{name}:`, or write `field: metadata`",
            )  # fmt: skip
    for place, subject in enumerate(one.value):
        at = (*path, "value", place)
        refs.subject(doc, at, subject)
        if subject == EVERYONE or subject.partition(":")[0] in ("any", "role"):
            refs.found.error(
                doc, at, "bad_subject", f"records are not stamped with `{subject[:80]}`",
                "name users, virtual accounts or teams",
            )  # fmt: skip
