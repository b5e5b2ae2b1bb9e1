"""Files and bodies become documents, or every problem at once; nothing in between."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.documents import Policy, ProviderAccount, Team, VirtualAccount, dump
from policies.errors import InvalidDocuments, Problem
from policies.loader import Loaded, load_mapping, load_paths, load_text, shipped
from policies.validate import validate

TEAM = "type: team\nname: search\nmembers: []\n"


def codes(loaded: Loaded) -> list[str]:
    return [problem.code for problem in loaded.problems]


def only(loaded: Loaded) -> Problem:
    assert len(loaded.problems) == 1, [problem.text() for problem in loaded.problems]
    return loaded.problems[0]


# -- what is read ------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_at_any_depth_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("type: team\nname: b\nmembers: []\n")
    (tmp_path / "a.yaml").write_text("type: team\nname: a\nmembers: []\n---\n---\n" + TEAM)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.json").write_text('{"type": "team", "name": "c", "members": []}')
    (tmp_path / "notes.txt").write_text("not a document")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("{")
    (tmp_path / "a.cases.yaml").write_text("cases: []")
    loaded = load_paths([tmp_path, tmp_path / "a.yaml"])
    assert [each.document.name for each in loaded.documents] == ["a", "search", "b", "c"]
    assert loaded.problems == []
    assert loaded.plain()[0].name == "a"


def test_a_document_knows_the_place_of_each_of_its_values() -> None:
    loaded = load_text(
        "# first\n"
        + TEAM
        + "---\ntype: team\nname: x\nmembers:\n  - a@b.cd\nownedBy: {team: search}\n"
    )
    located = loaded.documents[1]
    assert located.place == (6, 1)
    assert located.at("members", 0) == (9, 5)
    assert located.at("owned_by", "team") == (10, 17)
    assert located.at("ownedBy", "team") == (10, 17)
    assert located.key_at("members") == (8, 1)


@pytest.mark.parametrize(
    ("raw", "code", "place"),
    [
        (b"type: team\nname: \xff\n", "not_utf8", (2, 7)),
        (b"type: team\n\tname: x\n", "yaml_syntax", (2, 1)),
        (b"a: [1, 2\n", "yaml_syntax", (2, 1)),
        (b"type: team\nname: \x01\n", "bad_character", (2, 7)),
        (b'type: team\nname: "a\\u0000b"\n', "bad_character", (2, 7)),
        (b'type: team\nname: "a\\u202eb"\n', "bad_character", (2, 7)),
        (("# \u202e\n" + TEAM).encode(), "bad_character", (1, 3)),
    ],
)
def test_text_that_is_no_yaml_is_reported_at_its_place(
    tmp_path: Path, raw: bytes, code: str, place: tuple[int, int]
) -> None:
    (tmp_path / "x.yaml").write_bytes(raw)
    found = [(each.code, each.line, each.column) for each in load_paths([tmp_path]).problems]
    assert (code, *place) in found


def test_a_file_that_is_missing_unreadable_or_too_large_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert codes(load_paths([tmp_path / "none.yaml"])) == ["no_such_file"]
    assert codes(load_paths([tmp_path])) == ["no_documents"]
    (tmp_path / "x.yaml").write_text(TEAM)
    monkeypatch.setattr("policies.loader.MAX_FILE_BYTES", 10)
    assert codes(load_paths([tmp_path])) == ["too_large"]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + TEAM.replace("\n", "\r\n").encode())
    assert load_paths([tmp_path]).plain()[0].name == "search"


def test_what_stands_before_a_syntax_error_is_still_checked() -> None:
    loaded = load_text("type: team\nnam: x\n---\na: [\n")
    assert codes(loaded) == ["missing_field", "missing_field", "unknown_field", "yaml_syntax"]


# -- all problems at once ----------------------------------------------------------------------------


def test_every_problem_of_every_document_is_reported_at_once_and_sorted() -> None:
    loaded = load_text(
        """\
type: team
name: a b
membrs: [x@y.zz]
displayName: [one]
---
type: policy
name: p
rules:
  - id: r1
    effect: alloq
    subjects: team:x
    actions: []
    resources: []
    from: 2026-01-01
---
type: polixy
---
- 1
""",
        "f.yaml",
    )
    assert [problem.text() for problem in loaded.problems] == [
        "f.yaml:1:1: error missing_field: `members` is missing",
        "f.yaml:2:7: error bad_name: `a b` is not a name that `name` can have; letters, digits, `.`, `_`"
        " and `-`, at most 64, the first a letter or digit",
        "f.yaml:3:1: error unknown_field: `membrs` is not a known field; did you mean `members`?",
        "f.yaml:4:14: error wrong_type: `displayName` wants text, not a list",
        "f.yaml:10:13: error wrong_value: `alloq` is not a value of `rules[0].effect`;"
        " did you mean `allow`?",
        "f.yaml:11:15: error wrong_type: `rules[0].subjects` wants a list, not text;"
        " write `[one, two]`, or one `- ` line for each",
        "f.yaml:14:11: error wrong_value: `rules[0].from` is not an instant;"
        " write an instant with its time zone, as `2026-12-31T00:00:00Z`",
        "f.yaml:16:7: error unknown_type: the type `polixy` is not known; did you mean `policy`?",
        "f.yaml:18:1: error not_a_document: a document is a mapping with a `type`, not a list",
    ]
    assert loaded.documents == []
    assert loaded.broken == {("team", "a b"), ("policy", "p")}
    with pytest.raises(InvalidDocuments):
        loaded.plain()


def test_no_class_name_and_no_text_of_a_library_comes_through() -> None:
    loaded = load_text(
        "type: provider-account/openai\nname: x\nauth_data: {type: pi-key}\nintegrations:\n"
        "  - {name: 7, type: [], routing_config: {targets: []}}\n  - 3\nregion: {}\ntags: []\n"
        "---\ntype: virtual-account\nname: v\nauto_rotate: {grace_period: -1, auto_rotate_interval: x}\n"
        "expiration_date: tomorrow\nstate: off\n"
    )
    text = "\n".join(problem.text() for problem in loaded.problems)
    for word in ("pydantic", "Input", "Field", "Tuple", "ValidationError", "<class", "Extra"):
        assert word not in text
    assert len(loaded.problems) == 10, text


def test_a_duplicate_key_is_reported_where_it_stands_twice() -> None:
    problem = only(load_text(TEAM + "members: [a@b.cd]\n"))
    assert (problem.code, problem.line) == ("duplicate_key", 4)
    assert problem.hint == "the first is at line 3; keep one of them"


def test_a_field_under_both_of_its_names_is_reported() -> None:
    problem = only(load_text(TEAM + "displayName: a\ndisplay_name: b\n"))
    assert (problem.code, problem.line) == ("field_twice", 5)


@pytest.mark.parametrize(
    ("written", "near"),
    [("role_bindng", "role-binding"), ("Team", "team"), ("provider-account/opnai", "provider-account/openai")],
)  # fmt: skip
def test_an_unknown_type_names_the_nearest(written: str, near: str) -> None:
    problem = only(load_text(f"type: {written}\nname: x\n"))
    assert near in problem.hint


def test_a_token_or_a_chain_of_the_log_is_never_a_document_of_a_file() -> None:
    assert only(load_text("type: credential\nname: x\n")).code == "internal_type"
    assert only(load_mapping({"type": "credential", "name": "x"})).code == "internal_type"
    assert only(load_text("type: log-writer\nname: gw@h@0\n")).code == "internal_type"


def test_the_value_of_a_secret_is_never_repeated() -> None:
    loaded = load_text(
        "type: provider-account/openai\nname: x\nauth_data:\n  type: s3cr3t-a\n  api_key: s3cr3t-b\n"
        "---\ntype: provider-account/openai\nname: y\nauth_data: {type: api-key, api_key: [s3cr3t-c]}\n"
    )
    assert len(loaded.problems) == 2
    assert "s3cr3t-b" not in str(loaded.problems) and "s3cr3t-c" not in str(loaded.problems)
    ok = load_text(
        "type: provider-account/openai\nname: x\nauth_data: {type: api-key, api_key: s3cr3t}\n"
    )
    assert "s3cr3t" not in repr(ok)


# -- what a scalar may stand for ---------------------------------------------------------------------


def test_words_that_yaml_once_took_for_truth_stay_text() -> None:
    loaded = load_text(
        "type: team\nname: no\nmembers: []\ndisplayName: yes\ntags: {on: off, v: 1.10}\n"
    )
    team = loaded.plain()[0]
    assert isinstance(team, Team)
    assert (team.name, team.display_name, team.tags) == ("no", "yes", {"on": "off", "v": "1.10"})


def test_a_number_is_the_text_as_written_where_text_is_wanted() -> None:
    team = load_text(
        "type: team\nname: 007\nmembers: []\ntags: {a: 0x10, b: true, c: 1e3}\n"
    ).plain()[0]
    assert isinstance(team, Team)
    assert (team.name, team.tags) == ("007", {"a": "0x10", "b": "true", "c": "1e3"})


@pytest.mark.parametrize("value", ["yes", '"true"', "1", "on", "[true]"])
def test_a_switch_takes_true_or_false_and_nothing_else(value: str) -> None:
    text = (
        "type: policy\nname: p\nrules:\n  - {id: a, effect: deny, subjects: [], actions: [],"
        f" resources: [], enabled: {value}}}\n"
    )
    assert only(load_text(text)).code in ("wrong_type", "wrong_value")


@pytest.mark.parametrize("value", ['"30"', "true", "3.0", "x", "2026-01-01"])
def test_a_number_takes_no_text(value: str) -> None:
    text = f"type: virtual-account\nname: v\nauto_rotate: {{auto_rotate_interval: {value}}}\n"
    assert only(load_text(text)).code in ("wrong_type", "wrong_value")


def test_a_condition_keeps_the_kind_of_its_value() -> None:
    text = """\
type: policy
name: p
rules:
  - id: r
    effect: deny
    subjects: []
    actions: []
    resources: []
    when:
      - {field: body.a, operator: EQUAL, value: 5}
      - {field: body.b, operator: EQUAL, value: "5"}
      - {field: body.c, operator: EQUAL, value: true}
      - {field: body.d, operator: IN, value: [1, no, "true"]}
      - {field: body.e, operator: EQUAL, value: 1.5}
"""
    problem = only(load_text(text))
    assert (problem.line, problem.code) == (14, "wrong_type")
    policy = load_text(text.replace("1.5", "x")).plain()[0]
    assert isinstance(policy, Policy)
    values = [when.value for when in policy.rules[0].when]
    assert values == [5, "5", True, (1, "no", "true"), "x"]
    assert [type(value) for value in values] == [int, str, bool, tuple, str]


def test_dates_and_instants_are_read_exactly() -> None:
    account = load_text("type: virtual-account\nname: v\nexpiration_date: 2026-12-31\n").plain()[0]
    assert isinstance(account, VirtualAccount)
    assert account.expiration_date == date(2026, 12, 31)
    policy = load_mapping(
        {
            "type": "policy",
            "name": "p",
            "rules": [
                {
                    "id": "r",
                    "effect": "deny",
                    "subjects": [],
                    "actions": [],
                    "resources": [],
                    "from": "2026-01-01T00:00:00Z",
                    "until": "2026-01-01T02:00:00+01:00",
                }
            ],
        }
    ).plain()[0]
    assert isinstance(policy, Policy)
    assert policy.rules[0].valid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert policy.rules[0].valid_until == datetime(2026, 1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", ["20261231", "2026-02-30", "1767225600", "2026-12-31T00:00:00Z"])
def test_a_date_that_is_none_is_refused(value: str) -> None:
    text = f"type: virtual-account\nname: v\nexpiration_date: {value}\n"
    assert only(load_text(text)).code in ("wrong_type", "wrong_value")


def test_a_list_without_a_value_is_not_a_missing_list() -> None:
    """Entries that were all commented out must not open a model to everyone."""
    text = (
        "type: provider-account/echo\nname: e\nintegrations:\n  - type: integration/model/echo\n"
        "    name: secret\n    authorized_subjects:\n    #  - team:platform\n"
    )
    problem = only(load_text(text))
    assert (problem.code, problem.line) == ("no_value", 6)
    opened = load_text(text.replace("    authorized_subjects:\n", "")).plain()[0]
    closed = load_text(text.replace("subjects:\n", "subjects: []\n")).plain()[0]
    assert isinstance(opened, ProviderAccount) and isinstance(closed, ProviderAccount)
    assert opened.integrations[0].authorized_subjects is None
    assert closed.integrations[0].authorized_subjects == ()


def test_another_field_without_a_value_is_absent() -> None:
    team = load_text(TEAM + "displayName:\n").plain()[0]
    assert "displayName" not in dump(team)
    assert codes(load_text("type: team\nname:\nmembers: []\n")) == ["missing_field"]


# -- aliases, tags, size -----------------------------------------------------------------------------


def test_aliases_are_followed_within_bounds() -> None:
    text = "type: team\nname: a\nmembers: &m [a@b.cd]\nmanagers: *m\n"
    team = load_text(text).plain()[0]
    assert isinstance(team, Team)
    assert team.managers == ("a@b.cd",)


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    loaded = load_text("\n".join(lines))
    assert codes(loaded)[0] == "too_large"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("type: team\nname: a\nmembers: &m [*m]\n", "bad_alias"),
        ("type: team\nname: a\nmembers: *m\n", "bad_alias"),
        ("type: team\nname: !!python/name:os.system x\nmembers: []\n", "tag"),
        ("type: team\nname: a\nmembers: !!set {a: }\n", "tag"),
        ("base: &b {members: []}\n<<: *b\ntype: team\nname: a\n", "bad_key"),
        ("? [a]\n: b\n", "bad_key"),
        ("type: team\nname: a\nmembers: " + "[" * 500 + "]" * 500, "too_deep"),
        ("type: team\nname: a\nmembers: " + "[" * 100_000, "too_deep"),
        ("{" * 100_000, "too_deep"),
    ],
)
def test_what_yaml_can_do_and_a_policy_must_not(text: str, code: str) -> None:
    assert code in codes(load_text(text))


def test_twenty_megabytes_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"type: team\nmembers: [" + b"a@b.cd, " * 2_600_000)
    (tmp_path / "big.csv").write_bytes(b"p, any:user, any:model, model:use\n" * 620_000)
    found = load_paths([tmp_path])
    assert [(each.code, each.hint) for each in found.problems] == [("too_large", "split it")] * 2


def test_a_bomb_in_one_file_leaves_the_others_readable(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 8)}]\n" for n in range(9)
    )
    (tmp_path / "bomb.yaml").write_text(bomb)
    (tmp_path / "good.yaml").write_text(TEAM)
    found = load_paths([tmp_path])
    assert [each.document.name for each in found.documents] == ["search"]
    assert codes(found)[0] == "too_large"


@pytest.mark.parametrize(
    "text",
    ["type: team\n\tname: a\n", "type: team\nmembers:\n\t- a@b.cd\n", "\ttype: team\n"],
)
def test_a_tab_for_an_indentation_is_reported_at_its_line(text: str) -> None:
    problems = load_text(text).problems
    tab = text[: text.index("\t")].count("\n") + 1
    assert ("yaml_syntax", tab) in [(each.code, each.line) for each in problems]


def test_a_tab_inside_a_value_is_text() -> None:
    team = load_text('type: team\nname: a\nmembers: []\ndescription: "a\tb"\n').plain()[0]
    assert dump(team)["description"] == "a\tb"


def test_names_that_differ_in_case_only_are_one_name_across_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEAM)
    (tmp_path / "b.csv").write_text("g, user:a@b.cd, team:SEARCH\n")
    problems = validate(load_paths([tmp_path]))
    assert [(Path(p.file).name, p.line, p.code) for p in problems] == [("b.csv", 1, "duplicate")]


def test_an_explicit_text_tag_is_fine() -> None:
    assert load_text("type: team\nname: !!str 5\nmembers: []\n").plain()[0].name == "5"


# -- TrueFoundry -------------------------------------------------------------------------------------

THEIRS = """\
type: agent
name: x
url: https://example.com
---
type: virtual-account
name: v
notification_target: {type: slack-webhook}
permissions:
  - {resource_fqn: "acme:agent:x", resource_type: agent, role_id: agent-user}
  - {resource_fqn: "acme:openai:main", resource_type: provider-account, role_id: provider-account-access}
---
type: role
name: ops
permissions: ["agent:UseAgent", "team:ReadTeam"]
"""


def test_what_we_do_not_support_yet_is_named() -> None:
    loaded = load_text(THEIRS)
    assert [(p.line, p.code) for p in loaded.problems] == [
        (1, "unsupported"),
        (7, "unsupported"),
        (9, "unsupported"),
        (14, "unsupported"),
    ]
    assert all("--skip-unsupported" in problem.hint for problem in loaded.problems)


def test_what_we_do_not_support_yet_is_skipped_and_listed_when_asked() -> None:
    loaded = load_text(THEIRS, skip_unsupported=True)
    assert loaded.problems == []
    assert [each.what for each in loaded.skipped] == [
        "the type `agent`",
        "the field `notification_target`",
        "the resource type `agent`",
        "the permission `agent:UseAgent`",
    ]
    account, role = loaded.plain()
    assert isinstance(account, VirtualAccount)
    assert len(account.permissions) == 1
    assert dump(role)["permissions"] == ["team:ReadTeam"]


def test_what_the_server_sets_is_left_out_with_a_warning() -> None:
    loaded = load_text("type: virtual-account\nname: v\nbounded_by: search\n")
    problem = only(loaded)
    assert (problem.code, problem.severity) == ("server_field", "warning")
    assert "bounded_by" not in dump(loaded.plain()[0])


# -- JSON --------------------------------------------------------------------------------------------


def test_a_json_file_gives_places_and_duplicates_too(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('[\n {"type": "team", "name": "a", "members": [],\n  "members": ["x"]},\n 5]')
    assert [(p.line, p.column, p.code) for p in load_paths([file]).problems] == [
        (3, 3, "duplicate_key"),
        (4, 2, "not_a_document"),
    ]


@pytest.mark.parametrize(
    "text",
    ['{"type": NaN}', "{'type': 1}", '{"a": 1,}', '{"a": 1} x', '{"a": "\n"}', "", "[" * 99999],
)
def test_json_is_read_strictly(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert codes(load_paths([file]))[0] in ("json_syntax", "too_deep")


def test_a_body_is_checked_as_a_file_is() -> None:
    loaded = load_mapping({"type": "team", "name": 5, "members": None, "tags": {"a": 1}})
    assert [(p.file, p.line, p.code) for p in loaded.problems] == [
        ("request", 1, "no_value"),
        ("request", 1, "wrong_type"),
        ("request", 1, "wrong_type"),
    ]
    many = load_mapping([{"type": "team", "name": "a", "members": []}, {"type": "user"}])
    assert codes(many) == ["missing_field"]
    assert codes(load_mapping("x")) == ["not_a_document"]
    deep: object = []
    for _ in range(1000):
        deep = [deep]
    assert codes(load_mapping({"type": "team", "name": "a", "members": deep})) == ["too_deep"]
    assert codes(load_mapping({"type": "team", "name": object(), "members": []})) == [
        "policy_error"
    ]


def test_the_shipped_documents_are_read_once() -> None:
    assert shipped() == shipped()
    assert shipped()[0] is shipped()[0]


# -- hostile text ------------------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="&*!|>%@`\"'#-?:,[]{}\n\t \\<=~0123456789.eEnulyos", max_size=40),
    st.sampled_from(["", "~", "null", "yes", "0o17", "1_000", "12:30:45", "!!int 5", "%YAML 1.1", "--- a",
                     "*a", "&a b", "<<", "=", "\ufeff", "\x85", "\u2028", "a: b", "- a", "|", ">"]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_quoted_text_arrives_as_it_was_or_is_refused(text: str) -> None:
    """JSON's quoting is YAML's for text without surrogates: what comes out is what went in."""
    document = {
        "type": "team",
        "name": "a",
        "members": [],
        "description": text,
        "tags": {text: text},
    }
    for loaded in (
        load_text(json.dumps(document, ensure_ascii=False)),
        load_text(json.dumps(document), json=True),
        load_mapping(document),
    ):
        if loaded.ok:
            team = loaded.plain()[0]
            assert isinstance(team, Team)
            assert team.description == text
            assert team.tags == {text: text}
        else:
            assert loaded.documents == [] or not loaded.ok


@settings(max_examples=200, deadline=None)
@given(HOSTILE)
def test_unquoted_text_never_crashes_and_never_becomes_another_document(text: str) -> None:
    loaded = load_text(f"type: team\nname: a\nmembers: []\ndescription: {text}\n")
    for located in loaded.documents:
        if loaded.ok and located.document.name == "a" and isinstance(located.document, Team):
            assert located.document.members == () or "members" in text
            given_text = located.document.description
            # Whatever was read stands in the text: nothing was computed, converted or expanded.
            folded = "".join(text.split())
            assert given_text is None or all(
                piece in folded or "\\" in text or "'" in text for piece in given_text.split()
            )


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_crash_the_loader(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("x.yaml", "x.json"):
        (folder / name).write_bytes(raw)
        loaded = load_paths([folder / name])
        assert loaded.ok or loaded.problems
