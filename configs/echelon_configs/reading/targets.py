"""Whether a reference in the configuration names something, and what was meant when it does not."""

from dataclasses import dataclass
from typing import Literal

from echelon_configs.problems import any_of
from echelon_configs.reading.drafts import Draft, Reading
from echelon_configs.reading.models import conventional, file_for
from echelon_configs.reading.names import is_instance_name
from echelon_configs.reading.validate import shown
from echelon_configs.text.marked import Marked

Outcome = Literal["ok", "disabled", "unknown"]


@dataclass(slots=True)
class Targets:
    """The names of a draft. A model that is named and follows the conventions becomes an instance on the way."""

    draft: Draft
    reading: Reading

    def group(self, name: str, item: Marked) -> Outcome:
        """`group` or `group.echelon`."""
        group, _, echelon = name.partition(".")
        if group in self.draft.disabled_groups:
            return "disabled"
        if group not in self.draft.groups:
            return self._unknown(item, name, f"there is no group {shown(group)}", self._group_names(name))
        if "." in name and echelon not in self.draft.groups[group].echelons:
            own = [f"{group}.{known}" for known in self.draft.groups[group].echelons]
            near = self.reading.problems.near(name, own, 3) or tuple(own[:3])
            advice = f"did you mean {any_of(near)}?" if near else f"{group} has no echelons"
            self.reading.problems.error(item, f"group {group} has no echelon {shown(echelon)}", advice)
            return "unknown"
        return "ok"

    def pool(self, name: str, item: Marked) -> Outcome:
        """The name of a pool, with or without `pool.` before it."""
        bare = name.removeprefix("pool.")
        if bare in self.draft.disabled_pools:
            return "disabled"
        if bare in self.draft.pools:
            return "ok"
        return self._unknown(item, bare, f"there is no pool {shown(bare)}", list(self.draft.pools))

    def model(self, name: str, item: Marked) -> Outcome:
        """The name of an instance: one with a file, or one that follows the conventions."""
        if name in self.draft.disabled_models:
            return "disabled"
        if name in self.draft.models:
            return "ok"
        made = conventional(name, item, self.reading)
        if made is not None:
            self.draft.models[name] = made
            return "ok"
        message = f"model {shown(name)} has no file, and its name says no provider"
        self.reading.problems.error(item, message, self._model_advice(name))
        return "unknown"

    def _model_advice(self, name: str) -> str:
        if not is_instance_name(name):
            return "write the name of a model: letters, digits and any of `_ - . / : @ +`"
        near = self.reading.problems.near(name, self.draft.models, 2)
        meant = f"did you mean {any_of(near)}? else " if near else ""
        return f"{meant}write llms/{name}.yaml: {file_for(name)}"

    def fallback(self, name: str, item: Marked) -> Outcome:
        """Anything a job can be moved to: every target but a node."""
        if name.startswith("node."):
            advice = "write where that node's jobs go: group.echelon, group, pool.NAME or model.NAME"
            self.reading.problems.error(item, f"{shown(name)} is a node, and has no queue", advice)
            return "unknown"
        if name.startswith("pool."):
            return self.pool(name, item)
        if name.startswith("model."):
            return self.model(name.removeprefix("model."), item)
        return self.group(name, item)

    def _group_names(self, name: str) -> list[str]:
        """What might have been meant: with an echelon behind it, echelons; and groups."""
        groups = list(self.draft.groups)
        if "." not in name:
            return groups
        return [
            f"{group.name}.{echelon}" for group in self.draft.groups.values() for echelon in group.echelons
        ] + groups

    def _unknown(self, item: Marked, name: str, message: str, known: list[str]) -> Outcome:
        self.reading.problems.error(item, message, self.reading.problems.did_you_mean(name, known))
        return "unknown"
