"""Reads single-model files, and makes instances of models that need none."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from echelon_configs.conventions import Vendor, by_convention, vendor_called
from echelon_configs.problems import Problems
from echelon_configs.raw.models import RawModel
from echelon_configs.reading.credentials import read_api_key, read_headers
from echelon_configs.reading.drafts import Draft, DraftModel, Reading
from echelon_configs.reading.expand import expanded
from echelon_configs.reading.inherit import Inheritance
from echelon_configs.reading.names import check_instance_name
from echelon_configs.reading.rates import resolve_rate
from echelon_configs.reading.validate import shown, validate
from echelon_configs.references import SecretReference, expand
from echelon_configs.text.leaks import has_username
from echelon_configs.text.marked import Marked, Place


def read_models(draft: Draft, reading: Reading) -> None:
    """Every single-model file that is not only there to be inherited from."""
    paths = reading.files.models()
    documents = {path: document for path in paths if (document := reading.files.document(path)) is not None}
    inheritance = Inheritance(reading, documents)
    merged = {path: inheritance.merged(path) for path in documents}
    for path, document in merged.items():
        if not _is_base(path, document, inheritance):
            _read_model(path, document, draft, reading)
        elif path not in inheritance.parents:
            reading.problems.warning(
                Place(str(path)), "nothing inherits from this file", "remove it, or call it by the name of its model"
            )


def conventional(name: str, place: Marked, reading: Reading) -> DraftModel | None:
    """An instance for a model that a group names and that has no file; None when its name says no provider."""
    known = by_convention(name)
    if known is None or not check_instance_name(name, place, reading.problems):
        return None
    vendor, model_name = known
    draft = DraftModel(name, place, RawModel(), vendor, vendor.name, model_name)
    draft.base_url = expand(vendor.base_url, reading.environment, draft.unset.append) if vendor.base_url else None
    draft.api_key = vendor.api_key
    return draft


def file_for(name: str) -> str:
    """A model file for a name of unknown origin, ready to paste, on one line."""
    variable = "".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper()).strip("_")[:60] or "MODEL"
    endpoint = f'base_url: "https://HOST/v1", api_key: "${{{variable}_API_KEY}}"'
    return f'{{model_type: openai_compatible, model_name: "{name}", {endpoint}}}'


def _is_base(path: Path, document: Marked, inheritance: Inheritance) -> bool:
    """Whether the file is there for others: by its name, or because it names no model and others inherit from it."""
    stem = _stem(path)
    return (
        stem.startswith("_") or stem == "common" or (path in inheritance.parents and document.get("model_name") is None)
    )


def _stem(path: Path) -> str:
    return path.name.rpartition(".")[0]


def _read_model(path: Path, document: Marked, draft: Draft, reading: Reading) -> None:
    name, problems = _stem(path), reading.problems
    place = Place(document.file, document.line)
    if not check_instance_name(name, place, problems):
        return
    if name in draft.models:
        problems.error(place, f"model {name!r} has two files", f"the other is {draft.models[name].node.file}; keep one")
        return
    enabled = document.get("enabled")
    if enabled is not None and enabled.value is False:
        draft.disabled_models.add(name)
        return
    draft.models[name] = _Reader(name, path, document, draft, reading).read()


@dataclass(slots=True)
class _Reader:
    name: str
    path: Path
    document: Marked
    draft: Draft
    reading: Reading

    def read(self) -> DraftModel:
        problems = self.reading.problems
        unset: list[str] = []
        node = expanded(self.document, self.reading, unset)
        raw = validate(RawModel, node, problems, self.reading.registry)
        model = DraftModel(self.name, node, raw, unset=unset)
        if raw is None:
            return model
        self._provider(model, raw, node)
        self._endpoint(model, raw, node)
        self._credentials(model, node)
        model.rate = resolve_rate(raw.rate_limiting, node.get("rate_limiting"), self.draft.rate_limiting, problems)
        return model

    def _provider(self, model: DraftModel, raw: RawModel, node: Marked) -> None:
        problems = self.reading.problems
        folder = self.path.parent.name if self.path.parent.parent.name == "provider" else None
        model.model_type = raw.model_type or self._type_of(folder, raw)
        if not model.model_type and node.get("model_type") is None:
            problems.error(
                node, "model_type is missing", "write model_type: openai, anthropic, gemini or openai_compatible"
            )
        model.vendor = vendor_called(model.model_type)
        model.model_name = raw.model_name or ""
        written = node.get("model_name")
        if not raw.model_name and (written is None or written.value is None):
            problems.error(node, "model_name is missing", "write model_name: the provider's own name for the model")

    def _type_of(self, folder: str | None, raw: RawModel) -> str:
        known = folder and self.reading.registry.find("providers", folder)
        if known or (folder and vendor_called(folder)):
            return known or folder or ""
        guess = by_convention(self.name) or by_convention(raw.model_name or "")
        return guess[0].name if guess and folder is None else ""

    def _endpoint(self, model: DraftModel, raw: RawModel, node: Marked) -> None:
        vendor, place = model.vendor, node.get("base_url") or node
        url = raw.base_url
        if url is None and vendor is not None and vendor.base_url is not None:
            url = expand(vendor.base_url, self.reading.environment, model.unset.append)
        if url is None:
            if model.model_type == "openai_compatible" and not model.unset and node.get("base_url") is None:
                self.reading.problems.error(node, "base_url is missing", "write base_url: https://HOST/v1")
            return
        if not model.unset:
            _check_url(url, place, self.reading.problems)
        model.base_url = url.rstrip("/")

    def _credentials(self, model: DraftModel, node: Marked) -> None:
        written = node.get("api_key")
        if written is None:
            model.api_key = _usual_key(model.vendor)
        else:
            model.api_key = read_api_key(written, self.reading)
        model.headers = read_headers(node.get("headers"), self.reading)


def _usual_key(vendor: Vendor | None) -> SecretReference | None:
    return vendor.api_key if vendor is not None else None


def _check_url(url: str, place: Marked, problems: Problems) -> None:
    if has_username(url):
        problems.error(place, "a user name stands in the URL", "send it in a header, as ${NAME_OF_THE_VARIABLE}")
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in url):
        problems.error(place, f"{shown(url)} is not the address of a server", "write https://HOST/PATH")
