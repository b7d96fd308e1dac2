"""The configuration that `echelon init` writes: the one in this repository, carried by the wheel as it is."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

FOLDERS = ("llms", "workflows")
FILES = ("README.md", "task_groups.schema.json")


class StarterExists(Exception):
    """Files that stand in the way; nothing was written."""

    def __init__(self, files: list[Path]) -> None:
        self.files = tuple(files)
        super().__init__("\n".join(f"{file} exists already" for file in files))


def starter_files() -> dict[str, bytes]:
    """Each file by its path below the configuration directory."""
    root = _root()
    found: dict[str, bytes] = {name: root.joinpath(name).read_bytes() for name in FILES}
    for folder in FOLDERS:
        _collect(root.joinpath(folder), folder, found)
    return dict(sorted(found.items()))


def write_starter(directory: Path) -> list[Path]:
    """Writes the starter and returns the paths. Raises StarterExists, and writes nothing, when one is there already."""
    contents = {directory / name: content for name, content in starter_files().items()}
    there = [path for path in contents if path.exists() or path.is_symlink()]
    if there:
        raise StarterExists(there)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            stream.write(content)
    return list(contents)


def _root() -> Traversable:
    """Inside the wheel the files lie in the package; in a checkout they are the repository's own `configs/`."""
    package = files("echelon_configs")
    carried = package.joinpath("starter")
    return carried if carried.is_dir() else package.joinpath("..")


def _collect(folder: Traversable, path: str, found: dict[str, bytes]) -> None:
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            _collect(entry, name, found)
        elif entry.name.endswith(".yaml"):
            found[name] = entry.read_bytes()
