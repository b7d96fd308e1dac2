"""From a directory of YAML to the configuration, or to everything that is wrong with it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from echelon_configs.building.build import build
from echelon_configs.configuration import Configuration
from echelon_configs.problems import ConfigurationInvalid, Problem, Problems
from echelon_configs.reading.checks import check
from echelon_configs.reading.cluster import read_cluster
from echelon_configs.reading.drafts import Draft, DraftModel, Reading, secrets_of
from echelon_configs.reading.models import read_models
from echelon_configs.reading.nodes import read_workflows
from echelon_configs.reading.token_room import check_token_room
from echelon_configs.registry import Registry
from echelon_configs.text.files import ConfigFiles
from echelon_configs.text.marked import Marked, Place


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, and what is worth knowing about it."""

    configuration: Configuration
    warnings: tuple[Problem, ...] = ()


def load(
    directory: Path | str, *, environment: Mapping[str, str] | None = None, registry: Registry | None = None
) -> Loaded:
    """Reads the configuration in `directory`, or a `_task_groups.yaml` that stands alone.

    `environment` fills in `${ENV}` (the process's own by default); `registry` holds the names of strategies,
    schedulers, algorithms and providers. Raises ConfigurationInvalid with every error there is, and nothing else.
    """
    problems = Problems()
    files = ConfigFiles(Path(directory), problems)
    reading = Reading(files, problems, registry or Registry(), os.environ if environment is None else environment)
    document = files.cluster()
    draft = read_cluster(document, reading) if document is not None else Draft()
    read_models(draft, reading)
    read_workflows(draft, reading)
    if document is not None:
        check(draft, reading)
        _check_not_empty(draft, document, problems)
    _warn_of_unread(reading)
    _warn_of_unset_keys(draft, reading)
    _refuse(problems)
    configuration = build(draft)
    check_token_room(configuration, draft, problems)
    _refuse(problems)
    return Loaded(configuration, problems.warnings)


def _refuse(problems: Problems) -> None:
    if problems.errors:
        raise ConfigurationInvalid(problems.errors, problems.warnings)


def _check_not_empty(draft: Draft, document: Marked, problems: Problems) -> None:
    if not draft.groups and not draft.models and not problems.errors:
        problems.error(
            document, "a cluster of nothing: no task group and no model", "write task_groups: with a group below it"
        )


def _warn_of_unread(reading: Reading) -> None:
    for path in reading.files.unread():
        reading.problems.warning(
            Place(str(path)), "is not read", f"name it in _task_groups.yaml: {path.stem}: {{file: {path.name}}}"
        )


def _warn_of_unset_keys(draft: Draft, reading: Reading) -> None:
    """One warning a variable, at the first place that asks for it."""
    waiting: dict[str, dict[str, DraftModel]] = {}
    for model in draft.models.values():
        for reference in secrets_of(model):
            if reference.resolve(reading.environment) is None:
                waiting.setdefault(reference.env, {})[model.name] = model
    for name, models in waiting.items():
        first = next(iter(models.values())).node
        place = first.get("api_key") or first
        names = ", ".join(list(models)[:8]) + (", ..." if len(models) > 8 else "")
        reading.problems.warning(
            place,
            f"${{{name}}} is not set: workers here take no jobs for {names}",
            f"export {name}=... where workers run",
        )
