"""Markers in prompts."""

import pytest

from echelon_producers.simulator.exchange import RequestError
from echelon_producers.simulator.markers import UNMARKED, read_markers, without_markers


def test_a_prompt_without_markers_says_nothing() -> None:
    assert read_markers("[[simple]] text") == UNMARKED


def test_settings_of_one_marker_and_of_several_add_up() -> None:
    text = "x [[sim:fault=429,retry_after=2,times=3,model=gpt-*]] y [[sim:latency=2.5, tokens=300]] [[sim:tool]]"
    marked = read_markers(text)
    (fault,) = marked.faults
    assert (fault.kind, fault.retry_after_s, fault.count, fault.model) == ("429", 2, 3, "gpt-*")
    assert (marked.latency_s, marked.tokens, marked.tool) == (2.5, 300, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[sim:]]", "unknown settings"),
        ("[[sim:falt=500]]", "unknown settings ['falt']"),
        ("[[sim:fault=teapot]]", "kind"),
        ("[[sim:latency=soon]]", "could not convert string to float"),
        ("[[sim:times=2]]", "kind: Field required"),
        ("[[sim:fault=500,times=0]]", "count"),
    ],
)
def test_a_marker_that_is_not_understood_is_refused(text: str, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_markers(text)
    assert problem in (caught.value.failure.message or "")
    assert caught.value.failure.kind == "400"


def test_an_echo_leaves_markers_out() -> None:
    assert without_markers("a [[sim:fault=500]]b") == "a b"
