"""The files of a configuration directory, each read and composed once."""

from pathlib import Path, PurePosixPath

from echelon_configs.problems import Problems
from echelon_configs.text.compose import compose
from echelon_configs.text.exposed import report_exposed
from echelon_configs.text.marked import Marked, Place
from echelon_configs.text.source import read_text

CLUSTER = PurePosixPath("llms/groups/_task_groups.yaml")
YAML_SUFFIXES = (".yaml", ".yml")


class ConfigFiles:
    """`root` is the directory, or None when a `_task_groups.yaml` that stands alone was named."""

    def __init__(self, given: Path, problems: Problems) -> None:
        self._problems = problems
        self._read: dict[Path, Marked | None] = {}
        self._left_out: set[Path] = set()
        self.root, self.cluster_path = _layout(given)

    def cluster(self) -> Marked | None:
        """`_task_groups.yaml`, or None with the reason among the problems."""
        if self.root is not None and not self.root.is_dir():
            there = self.root.exists()
            message = "is neither a directory nor a YAML file" if there else "there is no such directory"
            self._problems.error(
                Place(str(self.root)), message, "`echelon init` writes a starter; --configs names another"
            )
            return None
        if self.root is not None and not _exists(self.cluster_path):
            self._problems.error(
                Place(str(self.cluster_path)),
                "there is no such file",
                f"write it, or run `echelon init {self.root}`; --configs names another directory",
            )
            return None
        return self.document(self.cluster_path)

    def document(self, path: Path) -> Marked | None:
        """The file as a mapping with its marks, or None with the reason among the problems."""
        if path not in self._read:
            self._read[path] = self._document(path)
        return self._read[path]

    def models(self) -> list[Path]:
        """Single-model files, those under `provider/` included."""
        if self.root is None:
            return []
        llms = self.root / "llms"
        found = self._yaml_in(llms)
        for folder in self._folders_in(llms / "provider"):
            found += self._yaml_in(folder)
        # A registry may keep the files of its groups here too; those have been read by now.
        return [path for path in found if path not in self._read and path not in self._left_out]

    def workflows(self) -> list[Path]:
        """Files that hold nodes."""
        return self._yaml_in(self.root / "workflows") if self.root is not None else []

    def unread(self) -> list[Path]:
        """Files beside `_task_groups.yaml` that it does not name."""
        if self.root is None:
            return []
        known = {*self._read, *self._left_out, self.cluster_path}
        return [path for path in self._yaml_in(self.cluster_path.parent) if path not in known]

    def leave_out(self, name: str) -> None:
        """The file is named, and disabled."""
        path = self.named(name)
        if path is not None:
            self._left_out.add(path)

    def named(self, name: str) -> Path | None:
        """The file that a `file:` means: beside `_task_groups.yaml`, under `llms/`, or under the directory."""
        return next((path for path in self._places(name) if _exists(path)), None)

    def places(self, name: str) -> str:
        """Where `named` looks, for a message."""
        return ", ".join(str(path) for path in self._places(name))

    def _places(self, name: str) -> list[Path]:
        bases = [self.cluster_path.parent]
        if self.root is not None:
            bases += [self.root / "llms", self.root]
        return [base / name for base in bases]

    def _document(self, path: Path) -> Marked | None:
        text = read_text(path, self._problems)
        if text is None:
            return None
        errors = len(self._problems.errors)
        document = compose(text, str(path), self._problems)
        if document is None or document.value is None:
            if len(self._problems.errors) == errors:
                self._problems.error(Place(str(path)), "is empty", "write the configuration, or remove the file")
            return None
        report_exposed(document, text, self._problems)
        if document.mapping is None:
            self._problems.error(document, "holds no mapping", "write KEY: VALUE lines")
            return None
        return document.without(*[key for key in document.mapping if key.startswith("x-")])

    def _yaml_in(self, folder: Path) -> list[Path]:
        entries = [path for path in self._entries(folder) if path.suffix in YAML_SUFFIXES]
        return [path for path in entries if not path.name.startswith((".", "#")) and not path.name.endswith("~")]

    def _folders_in(self, folder: Path) -> list[Path]:
        return [path for path in self._entries(folder) if path.is_dir() and not path.name.startswith(".")]

    def _entries(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._problems.error(Place(str(folder)), f"cannot be listed: {error.strerror}", "check its permissions")
            return []


def is_inside(name: str) -> bool:
    """Whether a relative name stays below where it starts."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and "\x00" not in name and ":" not in name


def _layout(given: Path) -> tuple[Path | None, Path]:
    if given.is_dir() or given.suffix not in YAML_SUFFIXES:
        return given, given / CLUSTER
    if given.parts[-3:] == CLUSTER.parts:
        return given.parents[2], given
    return None, given


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # there, but not to be looked at: reading it says why
