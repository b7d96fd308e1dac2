"""What a YAML scalar means."""

import pytest

from echelon_configs.text.scalars import ScalarError, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("1_000", 1000),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.5E-2", 0.015),
        ("true", True),
        ("off", False),
        ("Yes", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("0x1F", "0x1F"),
        ("gpt-4", "gpt-4"),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
        ("٣", "٣"),
    ],
)
def test_a_plain_scalar_is_read_as_people_mean_it(text: str, value: object) -> None:
    found = scalar(text, plain=True)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["10", "true", "null", ""])
def test_what_is_quoted_is_text(text: str) -> None:
    assert scalar(text, plain=False) == text


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".nan", "1e999", "9" * 41, "-" + "1" * 5000])
def test_a_number_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(ScalarError):
        scalar(text, plain=True)


@pytest.mark.parametrize(
    ("text", "tag", "value"),
    [("10", "str", "10"), ("10", "int", 10), ("10", "float", 10.0), ("yes", "bool", True), ("", "null", None)],
)
def test_the_core_tags_say_what_a_value_is(text: str, tag: str, value: object) -> None:
    found = scalar(text, plain=False, tag=f"tag:yaml.org,2002:{tag}")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("tag", ["tag:yaml.org,2002:python/object:os.system", "!secret", "tag:yaml.org,2002:binary"])
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(ScalarError, match="tag"):
        scalar("x", plain=False, tag=tag)


def test_a_tag_that_the_value_contradicts_is_refused() -> None:
    with pytest.raises(ScalarError, match="!!int"):
        scalar("ten", plain=False, tag="tag:yaml.org,2002:int")
