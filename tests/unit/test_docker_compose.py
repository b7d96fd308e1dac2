"""docker-compose.yml, its image and its example of an environment, as far as they can be judged without an engine."""

import re
import tomllib
from collections import Counter
from typing import Any

import pytest
from compose_file import ROOT, filled, read, served, variables

from echelon_configs import load

MAIN_GROUPS = ("fast", "plan", "thinking", "execute", "review", "high_payload")
SETTINGS = {"REDIS_PASSWORD": "a-password", "FLOWER_BASIC_AUTH": "someone:a-login"}

#: What the services of this file may say, of all that the Compose Specification knows: a typo is none of these.
KEYS = {
    *("build", "cap_drop", "command", "configs", "depends_on", "env_file", "environment", "healthcheck", "image"),
    *("init", "logging", "ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes"),
}
CONDITIONS = {"service_healthy", "service_completed_successfully"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(filled(read(), SETTINGS))


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["services"])


@pytest.fixture(scope="module")
def workers(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if served(service["command"])}


def test_what_the_services_say_is_what_compose_knows(document: dict[str, Any], services: dict[str, Any]) -> None:
    assert set(document) == {"name", "x-echelon", "x-worker", "services", "configs", "volumes"}
    for name, service in services.items():
        assert set(service) <= KEYS, name
        assert all(isinstance(word, str) for word in service["command"]), name
        for other, condition in service.get("depends_on", {}).items():
            assert condition["condition"] in CONDITIONS, name
            assert condition["condition"] != "service_healthy" or "healthcheck" in services[other], name
        assert {config["source"] for config in service.get("configs", [])} <= set(document["configs"])


def test_every_queue_of_the_configuration_is_served_by_exactly_one_service(workers: dict[str, Any]) -> None:
    queues = load(ROOT / "configs", environment={}).configuration.queues
    assert Counter(queue for worker in workers.values() for queue in served(worker["command"])) == Counter(list(queues))


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("group", MAIN_GROUPS)
def test_each_main_echelon_has_a_service_of_its_own(workers: dict[str, Any], group: str, number: int) -> None:
    assert served(workers[f"{group}_echelon{number}"]["command"]) == [f"{group}_group.echelon{number}"]


def test_a_worker_can_be_scaled_and_is_given_time_to_stop(workers: dict[str, Any]) -> None:
    for worker in workers.values():
        assert not {"container_name", "hostname", "ports"} & set(worker)
        grace_s = float(worker["environment"]["ECHELON_GRACE_S"])
        assert float(worker["stop_grace_period"].removesuffix("s")) >= grace_s + 20
        assert worker["depends_on"] == {"publish": {"condition": "service_completed_successfully"}}


def test_only_publish_and_the_workers_get_the_keys_of_the_providers(
    services: dict[str, Any], workers: dict[str, Any]
) -> None:
    with_keys = {name for name, service in services.items() if "env_file" in service}
    assert with_keys == {*workers, "publish"}


def test_no_password_is_written_down_or_has_a_default() -> None:
    assert {name for name, default in variables().items() if default is None} == set(SETTINGS)
    with pytest.raises(KeyError, match=r"REDIS_PASSWORD: set it in \.env"):
        filled(read(), {"FLOWER_BASIC_AUTH": "someone:a-login"})
    example = (ROOT / ".env.example").read_text()
    for name, default in variables().items():
        if default is None:
            assert re.search(rf"^{name}=$", example, re.MULTILINE), name


def test_no_password_is_on_a_command_line(services: dict[str, Any]) -> None:
    for service in services.values():
        shown = " ".join([*service["command"], *service.get("healthcheck", {}).get("test", [])])
        assert not [secret for secret in SETTINGS.values() if secret in shown]


def test_the_server_keeps_its_data_and_asks_for_the_password(document: dict[str, Any]) -> None:
    said = dict(line.split(" ", 1) for line in document["configs"]["valkey"]["content"].splitlines())
    assert (said["requirepass"], said["appendonly"], said["maxmemory-policy"]) == ("a-password", "yes", "noeviction")
    redis = document["services"]["redis"]
    assert redis["volumes"] == [f"redis-data:{said['dir']}"]
    assert redis["command"] == ["valkey-server", redis["configs"][0]["target"]]
    assert "ports" not in redis


def test_flower_has_a_login_and_nothing_listens_beyond_this_host(services: dict[str, Any]) -> None:
    assert services["flower"]["environment"]["FLOWER_BASIC_AUTH"] == "someone:a-login"
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_images_are_pinned_and_ours_is_the_project_s_version(services: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {service["image"] for name, service in services.items()}
    assert images == {f"echelon-cluster:{version}", services["redis"]["image"]}
    bases = re.findall(r"^FROM (\S+)", (ROOT / "workers/Dockerfile").read_text(), re.MULTILINE)
    for image in [*bases, services["redis"]["image"]]:
        assert re.search(r":\d+\.\d+\.\d+", image), image


def test_the_image_is_built_from_the_pins_and_does_not_run_as_root(services: dict[str, Any]) -> None:
    dockerfile = (ROOT / services["publish"]["build"]["dockerfile"]).read_text()
    assert "--constraint constraints.txt" in dockerfile
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    extras = set(re.findall(r"\.\[([\w,]+)\]", dockerfile)[0].split(","))
    assert {"workers", "cli", "api", "flower"} <= extras
    assert not re.search(r"^(ARG|ENV) .*(KEY|PASSWORD|TOKEN)", dockerfile, re.MULTILINE)


def test_the_image_is_built_from_named_folders_and_never_from_environment_files() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    assert {"**/*.env", "**/.env*"} <= set(patterns[patterns.index("!configs") :])
    dockerfile = (ROOT / "workers/Dockerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for name in line.split()
    ]
    assert {f"!{name}" for name in copied} == {pattern for pattern in patterns if pattern[0] == "!"}
