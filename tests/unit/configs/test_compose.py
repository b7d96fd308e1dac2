"""YAML text to marked values, within bounds."""

import time

import pytest

from echelon_configs.problems import Problems
from echelon_configs.text.compose import DEEPEST, compose
from echelon_configs.text.marked import Marked


def composed(text: str) -> tuple[Marked | None, list[str]]:
    problems = Problems()
    return compose(text, "f.yaml", problems), [str(problem) for problem in problems]


def plain(text: str) -> object:
    node, problems = composed(text)
    assert problems == []
    assert node is not None
    return node.plain_data()


def test_values_know_their_line_and_path() -> None:
    node, _ = composed("a:\n  b: [1,\n    2]\n  c d: 3\n")
    assert node is not None
    second, rest = node.at(("a", "b", 1))
    assert (second.value, second.line, second.path, rest) == (2, 3, "a.b[1]", ())
    assert node.at(("a", "c d"))[0].path == "a.'c d'"
    assert node.at(("a", "nothing", "here"))[1] == ("nothing", "here")


def test_a_key_is_its_text_whatever_yaml_makes_of_it() -> None:
    assert plain("on: 1\n2: two\nnull: x\n") == {"on": 1, "2": "two", "null": "x"}


def test_equal_keys_are_an_error_that_names_both_lines() -> None:
    _, problems = composed("a: 1\nb: 2\na: 3\n")
    assert problems == ["f.yaml:3: a: is given twice: on line 1 and on line 3 (keep one of the two)"]


def test_every_pair_of_equal_keys_is_reported_not_only_the_first() -> None:
    _, problems = composed("a: {x: 1, x: 2}\nb: 1\nb: 2\n")
    assert [problem.partition(": is")[0] for problem in problems] == ["f.yaml:1: a.x", "f.yaml:3: b"]


def test_an_alias_repeats_what_its_anchor_names() -> None:
    assert plain("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_an_alias_knows_the_line_where_it_stands() -> None:
    node, _ = composed("a: &x 1\nb:\n  c: *x\n")
    assert node is not None
    assert (node.at(("b", "c"))[0].line, node.at(("b", "c"))[0].path) == (3, "b.c")


def test_merged_keys_give_way_to_those_written_beside_them() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 5, z: 6}\nc:\n  <<: [*b, *m]\n  x: 3\n"
    assert plain(text) == {"base": {"x": 1, "y": 2}, "more": {"y": 5, "z": 6}, "c": {"x": 3, "y": 2, "z": 6}}


def test_merging_what_is_no_mapping_is_an_error() -> None:
    assert "merges something that is not a mapping" in composed("a: {<<: 3}")[1][0]


def test_aliases_that_explode_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    start = time.perf_counter()
    node, problems = composed("\n".join(lines))
    assert node is None
    assert "holds more than 50,000 values, aliases written out" in problems[0]
    assert time.perf_counter() - start < 1


def test_merges_that_explode_are_refused() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(100)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 20)}]}}" for n in range(1, 9)]
    assert "values, aliases written out" in composed("\n".join(lines))[1][0]


def test_an_alias_inside_what_it_names_is_refused() -> None:
    assert "stands inside what it names" in composed("a: &x [1, *x]")[1][0]


def test_an_alias_that_names_nothing_is_refused() -> None:
    assert composed("a: 1\nb: *x\n")[1] == [
        "f.yaml:2: (file): the alias x names nothing above (write &x where the value is first given)"
    ]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_quickly(opening: str) -> None:
    start = time.perf_counter()
    node, problems = composed(opening * 100_000)
    assert node is None
    assert len(problems) == 1
    assert time.perf_counter() - start < 2


def test_nesting_up_to_the_bound_is_read() -> None:
    assert composed("[" * DEEPEST + "]" * DEEPEST)[1] == []
    assert f"more than {DEEPEST} levels" in composed("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))[1][0]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a:\n\tb: 1\n", 2, "indent with spaces"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a: [1, 2\nb: 3\n", 2, "is not YAML"),
        ('a: "open\n', 2, "is not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "holds a second document"),
        ("a: 1\nb: \x01\n", 2, "holds a control character"),
        ("? [1, 2]\n: 3\n", 1, "a key is a list or a mapping"),
        ("a: 1\n? *x\n: 3\n", 2, "a key is an alias"),
        ('"": 3\n', 1, "a key has no name"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "a YAML tag of this kind is not read"),
        ("a: !!python/name:os.system x\n", 1, "a YAML tag of this kind is not read"),
        ("a: 1\nb: .inf\n", 2, "not a number that can be used"),
        ("%TAG ! tag:x,2000:\n---\na: !b c\n", 3, "a YAML tag of this kind is not read"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error_with_its_line(text: str, line: int, said: str) -> None:
    _, problems = composed(text)
    assert len(problems) == 1
    assert problems[0].startswith(f"f.yaml:{line}: ")
    assert said in problems[0]


def test_a_syntax_error_does_not_repeat_a_secret() -> None:
    secret = "sk-ant-api03-abcdefghijklmnop123456"
    for text in (f"a: *{secret}\n", f"a: !{secret} x\n", f"a: %{secret}: x\n", f"{secret}: 1\n{secret}: 2\n"):
        problems = composed(text)[1]
        assert problems
        assert secret not in "".join(problems)
