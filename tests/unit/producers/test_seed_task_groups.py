"""The seed's own usage of its TaskGroupManager works with the import changed."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from echelon_configs import Configuration, ConfigurationInvalid, UnknownTarget
from echelon_producers.seed import TaskGroupManager

CONFIGS = Path(__file__).parents[3] / "configs"

SMALL = """
task_groups:
  down:
    first: {models: [openai-gpt4, gemini-pro], priority: 1}
    second: {models: [gemini-pro], priority: 2}
    third: {models: [openai-gpt4], priority: 3}
    fallback_config: {strategy: echelon_down, fallback_groups: [across.only, down.third]}
  across:
    only: {models: [openai-gpt4]}
    fallback_config: {strategy: task_group_switch, fallback_groups: [pool.p]}
  alone:
    only: {models: [openai-gpt4]}
polling_pools: {p: {task_groups: [alone]}}
global_fallback: {enabled: false}
"""


@dataclass
class Loader:
    directory: Path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "llms" / "groups" / "_task_groups.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SMALL, encoding="utf-8")
    return tmp_path


@pytest.fixture
def manager(small: Path) -> TaskGroupManager:
    return TaskGroupManager(small)


def test_the_seeds_lines_work_as_printed() -> None:
    config_loader = Loader(CONFIGS)

    task_group_manager = TaskGroupManager(config_loader)
    config = task_group_manager.load_config()
    models = task_group_manager.get_models_for_group("fast_group.echelon1")
    status = task_group_manager.get_config_status()

    assert isinstance(config, Configuration)
    assert models == ["openai-gpt4", "anthropic-claude-opus"]
    assert status["loaded"]


def test_the_directory_is_given_or_an_objects_or_the_environments_or_configs(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for config_loader in (small, str(small), Loader(small)):
        assert "down" in TaskGroupManager(config_loader).load_config().groups
    monkeypatch.setenv("ECHELON_CONFIGS", str(small))
    assert "down" in TaskGroupManager().load_config().groups
    monkeypatch.delenv("ECHELON_CONFIGS")
    monkeypatch.chdir(CONFIGS.parent)
    assert "fast_group" in TaskGroupManager().load_config().groups


def test_what_names_no_directory_is_refused() -> None:
    with pytest.raises(TypeError, match="the configuration's directory"):
        TaskGroupManager(3)


def test_the_models_of_a_group_are_those_of_all_its_echelons_each_once(manager: TaskGroupManager) -> None:
    assert manager.get_models_for_group("down.second") == ["gemini-pro"]
    assert manager.get_models_for_group("down") == ["openai-gpt4", "gemini-pro"]


@pytest.mark.parametrize(
    ("reference", "fallbacks"),
    [
        ("down", ["down.second", "down.third", "across.only"]),
        ("down.first", ["down.second", "down.third", "across.only"]),
        ("down.second", ["down.third", "across.only"]),
        ("down.third", ["across.only"]),
        ("across.only", ["pool.p"]),
        ("alone", []),
    ],
)
def test_fallbacks_are_the_echelons_below_then_the_groups_own(
    manager: TaskGroupManager, reference: str, fallbacks: list[str]
) -> None:
    assert manager.get_fallback_groups(reference) == fallbacks


@pytest.mark.parametrize("reference", ["down", "down.first", "alone.only"])
def test_a_reference_that_exists_is_valid(manager: TaskGroupManager, reference: str) -> None:
    assert manager.validate_group_reference(reference)


@pytest.mark.parametrize("reference", ["up", "down.fourth", "down.", "", "pool.p", "model.openai-gpt4"])
def test_a_reference_that_does_not_exist_is_not(manager: TaskGroupManager, reference: str) -> None:
    assert not manager.validate_group_reference(reference)


def test_asking_for_a_group_that_is_not_there_names_the_nearest(manager: TaskGroupManager) -> None:
    with pytest.raises(UnknownTarget, match=r"did you mean down\.first"):
        manager.get_models_for_group("down.firs")
    with pytest.raises(UnknownTarget):
        manager.get_fallback_groups("up")


def test_the_status_says_what_is_loaded(manager: TaskGroupManager, small: Path) -> None:
    assert manager.get_config_status() == {"loaded": False, "directory": str(small)}
    digest = manager.load_config().digest()
    status = manager.get_config_status()
    assert (status["loaded"], status["digest"], status["queues"]) == (True, digest, 8)
    assert status["task_groups"]["down"] == ["first", "second", "third"]
    assert (status["polling_pools"], status["nodes"]) == (["p"], [])


def test_reloading_takes_what_has_changed_and_keeps_what_was_when_it_is_wrong(
    manager: TaskGroupManager, small: Path
) -> None:
    path = small / "llms" / "groups" / "_task_groups.yaml"
    before = manager.load_config()
    path.write_text("task_groups: {new: {e: {models: [openai-gpt4]}}}", encoding="utf-8")
    assert manager.load_config() is before
    assert list(manager.reload_config().groups) == ["new"]
    path.write_text("task_groups: [", encoding="utf-8")
    with pytest.raises(ConfigurationInvalid):
        manager.reload_config()
    assert list(manager.load_config().groups) == ["new"]
