"""No key in a text that is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_workers.providers.scrub import HIDDEN, scrub


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcDEF0123456789abcDEF",
        "sk-ant-api03-abcDEF0123456789",
        "AIzaSyA1234567890abcdefghijk",
        "gsk_abcdefghijklmnop1234",
        "Bearer abcdefghijklmnop",
        "Basic dXNlcjpwYXNzd29yZA==",
        "sk-abc*****************wxyz",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    ],
)
def test_what_looks_like_a_key_is_hidden(key: str) -> None:
    shown = scrub(f"wrong key: {key}, try another")
    assert key not in shown
    assert HIDDEN in shown
    assert shown.startswith("wrong key: ")
    assert shown.endswith(", try another")


@pytest.mark.parametrize(
    "text", ["the model gpt-4o is busy", "key not valid", "sk is short", "ask-me-anything about risk-taking-behaviours"]
)
def test_plain_words_stay(text: str) -> None:
    assert scrub(text) == text


@given(st.text(min_size=8, max_size=40).filter(lambda key: key.split() == [key]), st.text(max_size=30))
def test_a_known_secret_never_shows(key: str, around: str) -> None:
    assert key not in scrub(f"{around}{key}{around}", [key])


def test_a_secret_beyond_the_cut_is_not_shown_in_part() -> None:
    key = "zz9-plural-z-alpha-0123456789"
    assert "zz9" not in scrub("x" * 490 + key, [key])
