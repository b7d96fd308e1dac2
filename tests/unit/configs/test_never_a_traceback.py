"""Whatever stands in the files, loading them gives a configuration or a list of problems, never anything else."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_configs import Configuration, ConfigurationInvalid, load
from echelon_configs.raw.cluster import RawCluster

CONFIGS = Path(__file__).parents[3] / "configs"
OURS = (CONFIGS / "llms/groups/_task_groups.yaml").read_text(encoding="utf-8")
NODES = (CONFIGS / "workflows/llm_task_group_example.yaml").read_text(encoding="utf-8")
MODEL = (CONFIGS / "llms/local-model.yaml").read_text(encoding="utf-8")

LINE = re.compile(r"^\S.*:\d+: .+: .+ \(.+\)$", re.DOTALL)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = sorted(set(re.findall(r"[\w.-]+", OURS + NODES + MODEL)))
ODD = [
    "",
    "~",
    "-1",
    "0",
    "1e999",
    ".nan",
    "[]",
    "{}",
    "[[[",
    "}",
    ":",
    "- ",
    "&a",
    "*a",
    "<<: *a",
    "!x",
    "\t",
    "---",
    "...",
    "%",
]
ODD += [
    "? ",
    "|",
    ">",
    "'",
    '"',
    "\x00",
    "\x85",
    "\ufeff",
    "é",
    "\U0001f600",
    "null",
    "true",
    "1:30",
    "${",
    "${X}",
    "${X:y}",
    "#",
    "@",
    "`",
]
ODD += ["../x", "/", "9" * 50, " sk-abcdefghijklmnopqrstuvwx", "pool.x", "node.n", "model.m", "a.b.c", ".", "x" * 300]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path in ("llms/groups", "llms/provider/openai", "workflows"):
            (root / path).mkdir(parents=True)
        yield root


def outcome(folder: Path, groups: str = OURS, nodes: str = NODES, model: str = MODEL) -> None:
    for name, text in {
        "llms/groups/_task_groups.yaml": groups,
        "workflows/w.yaml": nodes,
        "llms/provider/openai/local-model.yaml": model,
    }.items():
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    found = _load(folder)
    if isinstance(found, Configuration):
        assert Configuration.model_validate_json(found.model_dump_json()) == found
        return
    assert found.problems
    for problem in found.problems:
        assert problem.severity == "error"
        assert LINE.match(str(problem)), str(problem)
        assert problem.line >= 1
    assert "sk-abcdefghijklmnopqrstuvwx" not in str(found)


def _load(folder: Path) -> Configuration | ConfigurationInvalid:
    try:
        return load(folder, environment={"X": "1"}).configuration
    except ConfigurationInvalid as invalid:
        return invalid


def mutated(text: str) -> st.SearchStrategy[str]:
    """Our own YAML with some lines dropped, doubled, moved in, or with a word replaced."""
    lines = text.splitlines()
    places = st.integers(0, len(lines) - 1)
    step = st.one_of(
        st.tuples(st.just("drop"), places, st.just("")),
        st.tuples(st.just("double"), places, st.just("")),
        st.tuples(st.just("indent"), places, st.sampled_from([" ", "  ", "\t"])),
        st.tuples(st.just("dedent"), places, st.just("")),
        st.tuples(st.just("word"), places, st.sampled_from(WORDS + ODD)),
        st.tuples(st.just("append"), places, st.sampled_from(WORDS + ODD)),
        st.tuples(st.just("insert"), places, st.one_of(st.sampled_from(lines), st.text(max_size=20))),
    )
    return st.lists(step, min_size=1, max_size=4).map(lambda steps: _mutate(lines, steps))


def _mutate(lines: list[str], steps: list[tuple[str, int, str]]) -> str:
    changed = list(lines)
    for kind, place, value in steps:
        at = min(place, len(changed) - 1)
        if at < 0:
            break
        line = changed[at]
        if kind == "drop":
            del changed[at]
        elif kind in ("double", "insert"):
            changed.insert(at, line if kind == "double" else value)
        elif kind == "indent":
            changed[at] = value + line
        elif kind == "dedent":
            changed[at] = line.lstrip()
        elif kind == "append":
            changed[at] = line + value
        else:
            changed[at] = re.sub(r"[\w.-]+(?=\W*$)", value.replace("\\", r"\\"), line, count=1)
    return "\n".join(changed)


KEYS = st.sampled_from(
    [*WORDS, "task_groups", "models", "file", "enabled", "echelons", "levels", "config", "nodes", "x-a"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**12),
    st.floats(),
    st.sampled_from(WORDS + ODD),
    st.text(max_size=10),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=25,
)
SECTIONS = st.dictionaries(
    st.sampled_from([*RawCluster.model_fields, "x-any", "wrong"]),
    st.dictionaries(KEYS, VALUES, max_size=4),
    max_size=6,
)


@quick
@given(text=mutated(OURS))
def test_our_groups_with_mistakes_in_them(folder: Path, text: str) -> None:
    outcome(folder, groups=text)


@quick
@given(nodes=mutated(NODES), model=mutated(MODEL))
def test_our_nodes_and_models_with_mistakes_in_them(folder: Path, nodes: str, model: str) -> None:
    outcome(folder, nodes=nodes, model=model)


@quick
@given(text=st.text(max_size=300))
def test_any_text(folder: Path, text: str) -> None:
    outcome(folder, groups=text, nodes=text, model=text)


@quick
@given(data=st.binary(max_size=200))
def test_any_bytes(folder: Path, data: bytes) -> None:
    path = folder / "llms/groups/_task_groups.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigurationInvalid):
        load(path, environment={})


@quick
@given(words=st.lists(st.sampled_from([*WORDS, *ODD, "\n", "\n  ", ": ", ", ", "{", "}", "[", "]", "- "]), max_size=60))
def test_any_words_of_yaml(folder: Path, words: list[str]) -> None:
    outcome(folder, groups="".join(words), nodes="nodes:\n  " + "".join(words), model="".join(words))


@quick
@given(document=SECTIONS, nodes=VALUES, model=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_values_under_the_keys_that_are_known(folder: Path, document: object, nodes: object, model: object) -> None:
    outcome(
        folder,
        groups=yaml.safe_dump(document, allow_unicode=True),
        nodes=yaml.safe_dump({"nodes": nodes}, allow_unicode=True),
        model=yaml.safe_dump(model, allow_unicode=True),
    )
