"""The scripted provider, with instances that are sick while a file names them; it notes who was looked at.

A line of the file is an instance whose calls and looks fail; with ` calls` behind it only its calls do. What has no
list of models is in SCRIPTED_UNLISTED.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import scripted_provider

from echelon_configs import Instance
from echelon_workers.errors import ConnectionFailed, ServerFailed
from echelon_workers.providers import Call, ProviderAnswer


class Providers(scripted_provider.Providers):
    """Stands where the worker's providers stand (ECHELON_PROVIDERS)."""

    def __init__(
        self, *, environment: Mapping[str, str], max_connections: int, simulator_url: str | None = None
    ) -> None:
        super().__init__(environment=environment, max_connections=max_connections, simulator_url=simulator_url)
        self._folder = Path(environment["SCRIPTED_ARRIVALS"]).parent
        self._unlisted = environment.get("SCRIPTED_UNLISTED", "").split(",")

    async def look(self, instance: Instance, timeout_s: float) -> bool:
        self._note("looks", instance.name)
        if instance.name in self._sick():
            raise ConnectionFailed("scripted: nobody there")
        return instance.name not in self._unlisted

    async def complete(self, call: Call) -> ProviderAnswer:
        if not call.job_id:
            self._note("paid", call.instance.name)
        if {call.instance.name, f"{call.instance.name} calls"} & self._sick():
            raise ServerFailed("scripted: down")
        return await super().complete(call)

    def _sick(self) -> set[str]:
        file = self._folder / "sick"
        return set(file.read_text().splitlines()) if file.exists() else set()

    def _note(self, what: str, name: str) -> None:
        with (self._folder / what).open("a") as file:
            os.write(file.fileno(), f"{name}\n".encode())
