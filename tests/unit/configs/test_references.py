"""`${ENV}` and `${ENV:default}`."""

import pytest

from echelon_configs import SecretReference, SecretTemplate
from echelon_configs.references import BROKEN_REFERENCE, expand, whole_reference


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("x${A}y${B:2}z", "x1y2z"),
        ("${EMPTY:default}", "default"),
        ("${B:-2}", "2"),
        ("${B:}", ""),
        ("${A:unused}", "1"),
        ("${URL:http://h:1/v1}", "http://h:1/v1"),
        ("$A $${A}", "$A $1"),
        ("${MISSING}", "${MISSING}"),
    ],
)
def test_a_reference_becomes_its_variable_or_its_default(text: str, result: str) -> None:
    missing: list[str] = []
    assert expand(text, {"A": "1", "EMPTY": ""}, missing.append) == result
    assert missing == (["MISSING"] if "MISSING" in text else [])


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A", "${A B}", "${A:b"])
def test_what_only_looks_like_a_reference_is_found(text: str) -> None:
    assert BROKEN_REFERENCE.search(text)


@pytest.mark.parametrize("text", ["${A}", "${A:}", "${A:-b}", "$A", "{A}", "a $ { b"])
def test_a_reference_is_not_broken(text: str) -> None:
    assert not BROKEN_REFERENCE.search(text)


def test_a_secret_is_resolved_from_the_environment_when_it_is_asked_for() -> None:
    reference = whole_reference(" ${KEY:EMPTY} ")
    assert reference == SecretReference(env="KEY", default="EMPTY")
    assert reference.resolve({"KEY": "x"}) == "x"
    assert reference.resolve({"KEY": ""}) == "EMPTY"
    assert SecretReference(env="KEY").resolve({}) is None
    assert whole_reference("Bearer ${KEY}") is None


def test_a_header_is_filled_in_or_missing_as_a_whole() -> None:
    header = SecretTemplate(template="Bearer ${KEY}/${ORG:none}")
    assert header.resolve({"KEY": "x"}) == "Bearer x/none"
    assert header.resolve({"ORG": "y"}) is None
    assert [reference.env for reference in header.references] == ["KEY", "ORG"]
