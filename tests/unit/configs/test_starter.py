"""The configuration that `echelon init` writes is this repository's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from echelon_configs import Loaded
from echelon_configs.starter import StarterExists, starter_files, write_starter

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_starter_is_our_configuration_byte_for_byte(tmp_path: Path) -> None:
    write_starter(tmp_path / "new")
    written = {path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*") if path.is_file()}
    yaml_files = {
        path.relative_to(CONFIGS) for folder in ("llms", "workflows") for path in (CONFIGS / folder).rglob("*.yaml")
    }
    assert written == yaml_files | {Path("README.md"), Path("task_groups.schema.json")}
    for name in written:
        assert (tmp_path / "new" / name).read_bytes() == (CONFIGS / name).read_bytes()


def test_the_starter_can_be_used_as_it_is(tmp_path: Path, loaded: Callable[..., Loaded]) -> None:
    write_starter(tmp_path)
    assert loaded(tmp_path).configuration.digest() == loaded(CONFIGS).configuration.digest()


def test_no_file_is_overwritten_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    mine = tmp_path / "llms" / "groups" / "_task_groups.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(StarterExists) as caught:
        write_starter(tmp_path)
    assert caught.value.files == (mine,)
    assert mine.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_other_files_in_the_directory_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert len(write_starter(tmp_path)) == len(starter_files())
