"""How problems are collected and told."""

from echelon_configs import ConfigurationInvalid, Problem, UnknownTarget
from echelon_configs.problems import MOST_GUESSES, Problems, any_of, nearest
from echelon_configs.text.marked import Place


def test_a_problem_says_where_what_and_what_would_be_right() -> None:
    problem = Problem(file="a.yaml", line=3, path="x.y", message="is wrong", advice="do this")
    assert str(problem) == "a.yaml:3: x.y: is wrong (do this)"
    warning = Problem(file="a.yaml", line=3, path="x", message="is odd", advice="do this", severity="warning")
    assert str(warning) == "a.yaml:3: x: warning: is odd (do this)"
    assert warning.to_json()["severity"] == "warning"


def test_problems_come_by_file_then_by_line_and_each_once() -> None:
    problems = Problems()
    for file, line in (("b", 9), ("a", 5), ("b", 2), ("b", 2)):
        problems.error(Place(file, line), "m", "a")
    problems.warning(Place("a", 1), "m", "a")
    assert [(problem.file, problem.line) for problem in problems.errors] == [("b", 2), ("b", 9), ("a", 5)]
    assert [problem.line for problem in problems.warnings] == [1]


def test_the_error_is_every_line() -> None:
    problems = Problems()
    problems.error(Place("a", 1), "one", "x")
    problems.error(Place("a", 2), "two", "x")
    assert str(ConfigurationInvalid(problems.errors)) == "a:1: (file): one (x)\na:2: (file): two (x)"


def test_a_message_never_repeats_a_secret() -> None:
    secret = "sk-ant-api03-AbCdEfGhIjKlMnOp-123456"
    problems = Problems()
    problems.error(Place("a", 1, f"x.{secret}"), f"no {secret}", f"write {secret}")
    assert secret not in str(next(iter(problems)))


def test_a_clear_winner_stands_alone() -> None:
    assert nearest("fast_grup", ["fast_group", "fast_small_group", "plan_group"], 3)[0] == "fast_group"
    assert nearest("timout", ["timeout", "max_tokens", "priority"], 3) == ("timeout",)
    assert nearest("xyz", ["timeout"], 3) == ()
    assert nearest("Fast-Group", ["fast_group"], 3) == ("fast_group",)


def test_names_are_listed_as_people_do() -> None:
    assert (any_of(["a"]), any_of(["a", "b"]), any_of(["a", "b", "c"])) == ("a", "a or b", "a, b or c")


def test_thousands_of_guesses_are_not_made() -> None:
    problems = Problems()
    advice = {problems.did_you_mean("timout", ["timeout"]) for _ in range(MOST_GUESSES + 1)}
    assert advice == {"did you mean timeout?", "known: timeout"}


def test_an_unknown_target_says_what_is_near() -> None:
    assert str(UnknownTarget("a", ["b", "c"])) == "there is no target 'a' (did you mean b or c?)"
    assert str(UnknownTarget("a")) == "there is no target 'a' (`echelon config show` lists the targets)"
