"""Files that cannot be a configuration: one clear error each, and quickly."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from echelon_configs import ConfigurationInvalid, load
from echelon_configs.text import source


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(path, environment={})
    assert len(caught.value.problems) == 1, str(caught.value)
    return str(caught.value)


@pytest.fixture
def groups_file(tmp_path: Path) -> Path:
    path = tmp_path / "llms" / "groups" / "_task_groups.yaml"
    path.parent.mkdir(parents=True)
    return path


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "nowhere:1: (file): there is no such directory (`echelon init`" in refusal(tmp_path / "nowhere")


def test_a_directory_without_the_file_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert "_task_groups.yaml:1: (file): there is no such file (write it, or run `echelon init" in message


def test_a_file_that_is_a_directory_is_refused(tmp_path: Path, groups_file: Path) -> None:
    groups_file.mkdir()
    assert "is a directory (a YAML file is expected here)" in refusal(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, groups_file: Path) -> None:
    os.mkfifo(groups_file)
    assert "is not a regular file" in refusal(tmp_path)


def test_a_file_of_10_mb_is_refused_at_once(tmp_path: Path, groups_file: Path) -> None:
    groups_file.write_bytes(b"a: 1\n" * 2_000_000)
    start = time.perf_counter()
    assert "has 10,000,000 bytes (a configuration file has at most 1,048,576" in refusal(tmp_path)
    assert time.perf_counter() - start < 0.5


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "_task_groups.yaml"
    path.write_text("a: 1\n" * 10)
    monkeypatch.setattr(source, "MOST_BYTES", 20)
    assert "has 50 bytes" in refusal(path)


@pytest.mark.parametrize("content", [b"a: \xff\xfe", "a: ü".encode("latin-1"), "a: 1\n".encode("utf-16")])
def test_what_is_not_utf_8_is_refused(tmp_path: Path, groups_file: Path, content: bytes) -> None:
    groups_file.write_bytes(content)
    assert "is not UTF-8 text (save the file in UTF-8)" in refusal(tmp_path)


def test_the_line_that_is_not_utf_8_is_named(tmp_path: Path, groups_file: Path) -> None:
    groups_file.write_bytes(b"a: 1\nb: 2\nc: \xff\n")
    assert "_task_groups.yaml:3: " in refusal(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path, groups_file: Path) -> None:
    groups_file.write_bytes("task_groups: {g: {e: {models: [openai-gpt4]}}}".encode("utf-8-sig"))
    assert list(load(tmp_path, environment={}).configuration.groups) == ["g"]


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file_is_refused(tmp_path: Path, groups_file: Path, content: str) -> None:
    groups_file.write_text(content)
    assert "is empty" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["just text", "- a\n- b\n", "42"])
def test_a_file_that_holds_no_mapping_is_refused(tmp_path: Path, groups_file: Path, content: str) -> None:
    groups_file.write_text(content)
    assert "holds no mapping" in refusal(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, groups_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is simulated: the tests may run as root, who may read everything."""
    groups_file.write_text("task_groups: {}")
    monkeypatch.setattr(Path, "open", _denied)
    assert "may not be read (give this user read permission on it)" in refusal(tmp_path)


def test_a_directory_that_may_not_be_listed_is_refused(
    tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tree()
    monkeypatch.setattr(Path, "iterdir", _denied)
    with pytest.raises(ConfigurationInvalid, match="cannot be listed: Permission denied"):
        load(directory, environment={})


def test_a_file_with_the_other_ending_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("task_groups: {}")
    assert "there is a.yml: rename it to a.yaml" in refusal(tmp_path / "a.yaml")


def test_what_is_neither_a_directory_nor_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "is neither a directory nor a YAML file" in refusal(tmp_path / "notes.txt")


def test_hidden_and_backup_files_are_not_read(tree: Callable[..., Path]) -> None:
    directory = tree(**{"llms/.swap.yaml": "broken: [", "llms/#edit.yaml": "broken: [", "llms/notes.txt": "hello"})
    assert "fast_group" in load(directory, environment={}).configuration.groups


def _denied(*_: object, **__: object) -> object:
    raise PermissionError(13, "Permission denied")
