"""Reading a prices file: JSON or YAML, of bounded size, with numbers kept as the text they were written in."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import NoReturn

import yaml

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing.table import Table, parse_table

SETTING = "LLM_COST_PRICES_FILE"
MOST_BYTES = 2 * 1024 * 1024
Signature = tuple[int, int, int]


def signature(path: str) -> Signature | None:
    """What changes when the file does; ``None`` where it cannot be read."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_table(path: str) -> Table:
    """The price table in a file; ``.yml`` and ``.yaml`` in any case are YAML, everything else is JSON.

    Raises:
        PriceTableError: the file is absent, too large, not of its format, or its prices are malformed.
    """
    where = f"Unable to load {SETTING} {path!r}"
    return parse_table(raw_table(path, where), where)


def raw_table(path: str, where: str, most_bytes: int = MOST_BYTES) -> object:
    """What a file says, numbers as texts.

    Args:
        where: how the messages name the file.

    Raises:
        PriceTableError: the file is absent, too large or not of its format.
    """
    text = _text(path, where, most_bytes)
    try:
        return _yaml(text) if is_yaml(path) else _json(text)
    except RecursionError:
        raise PriceTableError(f"{where}: it is nested too deeply.") from None
    except (ValueError, yaml.YAMLError) as error:
        raise PriceTableError(f"{where}: {_one_line(error)}") from None


def is_yaml(path: str) -> bool:
    """By its name; everything else is JSON."""
    return path.casefold().endswith((".yml", ".yaml"))


def _text(path: str, where: str, most_bytes: int) -> str:
    content = b""
    try:
        is_regular = stat.S_ISREG(os.stat(path).st_mode)
        if is_regular:
            with open(path, "rb", opener=_at_once) as file:
                content = file.read(most_bytes + 1)
    except OSError as error:
        raise PriceTableError(f"{where}: {error.strerror or error}.") from None
    except ValueError as error:
        raise PriceTableError(f"{where}: {error}.") from None
    if not is_regular:
        raise PriceTableError(f"{where}: it is not a regular file.")
    if len(content) > most_bytes:
        raise PriceTableError(f"{where}: it is larger than {most_bytes // 2**20} MiB.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PriceTableError(f"{where}: it is not UTF-8 text (byte {error.start}).") from None


def _at_once(path: str, flags: int) -> int:
    """Opens without waiting for a writer, should the file have become a pipe since it was looked at."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _json(text: str) -> object:
    if not text.strip():
        raise ValueError("the file is empty; an empty table is {}.")
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=_refuse, object_pairs_hook=_unique)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON.")


def _unique(pairs: Iterable[tuple[str, object]]) -> Mapping[str, object]:
    mapping: dict[str, object] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"{key!r} is there twice.")
        mapping[key] = value
    return mapping


def _yaml(text: str) -> object:
    return yaml.load(text, Loader=PlainLoader)  # noqa: S506 - a BaseLoader makes nothing but texts


class PlainLoader(yaml.BaseLoader):
    """YAML with texts only: ``0.10`` stays "0.10", a date stays its text, and nothing refers to anything else."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: YAML anchors and aliases are not allowed.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, object]:  # type: ignore[override]
        return dict(_unique((self._key(key), self.construct_object(value, deep=True)) for key, value in node.value))

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a key has to be a text.")
        return str(node.value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
