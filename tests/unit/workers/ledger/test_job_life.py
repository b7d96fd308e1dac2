"""docs/job-life.md says what the Lua enforces, and the doctor knows every key."""

import re
from pathlib import Path

import echelon_workers.ledger
from echelon_workers.ledger.audit_keys import TYPES, name_of
from echelon_workers.ledger.audit_report import KINDS
from echelon_workers.ledger.keys import _NAMES, Keys

PAGE = (Path(__file__).parents[4] / "docs" / "job-life.md").read_text(encoding="utf-8")
LUA = Path(echelon_workers.ledger.__file__).parent / "lua"
STATES = {"queued", "delayed", "running", "answered", "dead", "cancelled", "expired"}


def enforced() -> set[tuple[str, str]]:
    """The transitions of LIFE, and those of a job that is new."""
    text = (LUA / "parts" / "places.lua").read_text(encoding="utf-8")
    table = re.search(r"local LIFE = \{(.*?)\n\}", text, re.DOTALL)
    assert table is not None
    ways = re.findall(r"(\w+) = '([^']*)'", table[1])
    assert {state for state, _ in ways} == STATES
    return {(state, other) for state, others in ways for other in others.split()}


def test_the_table_of_transitions_is_the_one_that_is_enforced() -> None:
    section = PAGE.split("## Transitions")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+) \| (\w+) \| [^|]+ \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
    told = [row for row in rows if row[0] != "from"]
    assert len(told) == len(set(told))
    assert {row for row in told if row[0] != "-"} == enforced()
    assert {row for row in told if row[0] == "-"} == {("-", "queued"), ("-", "dead")}


def test_the_diagram_has_the_same_transitions() -> None:
    diagram = PAGE.split("```mermaid")[1].split("```")[0]
    arrows = set(re.findall(r"^ +(\w+) --> (\w+):", diagram, re.MULTILINE))
    assert arrows == enforced()


def test_every_cause_that_the_scripts_write_is_on_the_page() -> None:
    texts = [path.read_text(encoding="utf-8") for path in LUA.rglob("*.lua")]
    entering = r"(?:to_head|to_end|to_delay|into_list|enter)\(.*"
    lines = [line for text in texts for line in re.findall(entering, text)]
    causes = {cause for line in lines for cause in re.findall(r"'(it[s]? [a-z ]+|the reply [a-z ]+)'", line)}
    assert len(causes) > 5
    assert [cause for cause in causes if cause not in PAGE] == []


def test_every_finding_of_the_doctor_is_on_the_page() -> None:
    assert [code for code in KINDS if f"`{code}`" not in PAGE] == []


def test_the_doctor_finds_nothing_that_has_no_kind() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in LUA.glob("audit*.lua"))
    found = set(re.findall(r"find\('([a-z-]+)'", text)) | set(re.findall(r"return '([a-z]+-[a-z-]+)'", text))
    assert len(found) > 10
    assert found <= KINDS.keys()


def test_the_doctor_knows_the_type_of_every_key() -> None:
    kinds = {name: re.search(r"\b(zset|hash|set|string|list|channel)\b", about) for name, (_, about) in _NAMES.items()}
    described = {name: kind[1] for name, kind in kinds.items() if kind is not None}
    assert described.keys() == _NAMES.keys()
    assert {name: kind for name, kind in described.items() if kind != "channel"} == TYPES


def test_a_key_is_known_by_its_whole_name() -> None:
    keys = Keys("here")
    assert name_of(keys, keys.of("parked", "a.b node")) == ("parked", "a.b node")
    assert name_of(keys, keys.of("workers")) == ("workers", "")
    assert name_of(keys, keys.of("running") + "s") is None
