"""Configurations written down as YAML in a test."""

from pathlib import Path
from tempfile import TemporaryDirectory

from echelon_configs import Configuration, load

_KEYS = {f"{name}_API_KEY": "set" for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL", "GROQ", "DEEPSEEK")}


def configured(groups: str, **files: str) -> Configuration:
    """What `_task_groups.yaml` with this text describes. `files`: models as NAME=text, with `__` for a dash, and
    `workflows` for nodes."""
    with TemporaryDirectory() as folder:
        places = {Path(folder, "llms/groups/_task_groups.yaml"): groups}
        for name, text in files.items():
            inside = "workflows/nodes.yaml" if name == "workflows" else f"llms/{name.replace('__', '-')}.yaml"
            places[Path(folder, inside)] = text
        for place, text in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        return load(folder, environment=_KEYS).configuration
