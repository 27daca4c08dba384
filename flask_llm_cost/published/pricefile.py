"""The prices file as ``prices refresh`` keeps it: what a person wrote stays, the rest is the source's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import yaml

from flask_llm_cost.errors import PriceSourceError, PriceTableError
from flask_llm_cost.pricing.sources.shapes import Plain, mapping
from flask_llm_cost.pricing.tablefile import MOST_BYTES, is_yaml, raw_table
from flask_llm_cost.published.compare import Comparison
from flask_llm_cost.published.source import SCHEMA


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A prices file as it is.

    Attributes:
        models: key → entry, as written.
        metadata: what it says about itself.
    """

    models: Mapping[str, Plain] = field(default_factory=dict)
    metadata: Plain = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, str]:
        """Address → version of what it was last refreshed from."""
        held = self.metadata.get("sources")
        return {str(url): str(version) for url, version in held.items()} if isinstance(held, Mapping) else {}


def read(path: Path) -> PriceFile:
    """The file; an empty one where there is none.

    Raises:
        PriceTableError: it is there and cannot be read.
    """
    if not path.exists():
        return PriceFile()
    raw = raw_table(str(path), f"Unable to read {str(path)!r}") or {}
    try:
        table = mapping(raw)
        models = mapping(table.get("models") or {}) if "models" in table else table
        entries = {key: mapping(entry) for key, entry in models.items() if key not in ("metadata", "schema_version")}
        return PriceFile(entries, mapping(table.get("metadata") or {}))
    except PriceTableError:
        raise PriceTableError(f"Unable to read {str(path)!r}: it is no table of prices.") from None


def merged(
    file: PriceFile, published: Mapping[str, Plain], outcome: Comparison, *, source: str, versions: Mapping[str, str],
    today: date,
) -> dict[str, object]:  # fmt: skip
    """The file's next content: manual and dropped entries as they are, the others as published."""
    kept = {key: file.models[key] for key in (*outcome.manual, *outcome.dropped) if key in file.models}
    metadata = {
        **file.metadata,
        "schema_version": SCHEMA,
        "currency": "USD",
        "updated_at": today.isoformat(),
        "source": source,
        "sources": {**file.versions, **versions},
    }
    return {"metadata": metadata, "models": dict(sorted({**published, **kept}.items()))}


def write(path: Path, table: Mapping[str, object]) -> None:
    """Write a table in the format of the file's name: into a file beside it, then into its place.

    Raises:
        PriceSourceError: it cannot be written, or would be too large to be read.
    """
    content = (_yaml(table) if is_yaml(str(path)) else _json(table)).encode()
    if len(content) > MOST_BYTES:
        raise PriceSourceError(f"{path}: the table would be larger than {MOST_BYTES // 2**20} MiB; nothing is written.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise PriceSourceError(f"Unable to write {path}: {error.strerror or error}.") from error


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _json(table: Mapping[str, object]) -> str:
    """One model a line, so that a diff says which changed."""
    models = mapping(table["models"])
    lines = ",\n".join(f"    {_dumped(key)}: {_dumped(entry)}" for key, entry in models.items())
    return f'{{\n  "metadata": {_dumped(table["metadata"])},\n  "models": {{\n{lines}\n  }}\n}}\n'


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _yaml(table: Mapping[str, object]) -> str:
    plain = json.loads(json.dumps(table, default=str))
    return yaml.dump(plain, Dumper=_WithoutAliases, sort_keys=False, allow_unicode=True)


class _WithoutAliases(yaml.SafeDumper):
    """Writes what is there twice twice: prices files have no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True
