"""Small configurations in a temporary directory, and what `load` makes of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from echelon_configs import Configuration, ConfigurationInvalid, Loaded, Problem, load

#: Every key that the providers' conventions ask for, so that warnings in a test are the test's own.
KEYS = {
    f"{name}_API_KEY": "set"
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL", "GROQ", "DEEPSEEK", "OPENROUTER", "VLLM")
}

GROUPS = "llms/groups/_task_groups.yaml"

FAST = """
task_groups:
  fast_group:
    echelon1:
      models: [openai-gpt4]
    echelon2:
      models: [gemini-pro]
      priority: 2
"""

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes a configuration directory: the text of _task_groups.yaml, and other files by path."""

    def write(groups: str = FAST, **files: str) -> Path:
        for name, text in {GROUPS: groups, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def loaded() -> Callable[..., Loaded]:
    """Loads with every conventional key set, and what else the test sets."""

    def read(directory: Path, environment: Mapping[str, str] | None = None) -> Loaded:
        return load(directory, environment={**KEYS, **(environment or {})})

    return read


@pytest.fixture
def configuration(tree: Tree, loaded: Callable[..., Loaded]) -> Callable[..., Configuration]:
    """The configuration that some files describe."""

    def read(groups: str = FAST, environment: Mapping[str, str] | None = None, **files: str) -> Configuration:
        return loaded(tree(groups, **files), environment).configuration

    return read


@pytest.fixture
def warnings(tree: Tree, loaded: Callable[..., Loaded]) -> Callable[..., list[str]]:
    """The warnings of a configuration that can be used, without the name of the directory."""

    def read(groups: str = FAST, environment: Mapping[str, str] | None = None, **files: str) -> list[str]:
        directory = tree(groups, **files)
        return [_short(problem, directory) for problem in loaded(directory, environment).warnings]

    return read


@pytest.fixture
def errors(tree: Tree) -> Callable[..., list[str]]:
    """Every error of a configuration that cannot be used, without the name of the directory."""

    def read(groups: str = FAST, environment: Mapping[str, str] | None = None, **files: str) -> list[str]:
        directory = tree(groups, **files)
        with pytest.raises(ConfigurationInvalid) as caught:
            load(directory, environment={**KEYS, **(environment or {})})
        return [_short(problem, directory) for problem in caught.value.problems]

    return read


@pytest.fixture
def error(errors: Callable[..., list[str]]) -> Callable[..., str]:
    """The one error of a configuration that cannot be used."""

    def read(groups: str = FAST, environment: Mapping[str, str] | None = None, **files: str) -> str:
        found = errors(groups, environment, **files)
        assert len(found) == 1, "\n".join(found)
        return found[0]

    return read


def _short(problem: Problem, directory: Path) -> str:
    return str(problem).replace(f"{directory}/llms/groups/", "").replace(f"{directory}/", "")
