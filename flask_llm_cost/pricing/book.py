"""The price tables of one app, kept up to date with its prices file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import date, datetime
from time import monotonic

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.explain import Explanation, explain
from flask_llm_cost.pricing.freshness import Freshness, freshness
from flask_llm_cost.pricing.pricer import Catalogue
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.pricing.table import Table, parse_table
from flask_llm_cost.pricing.tablefile import SETTING, Signature, read_table, signature
from flask_llm_cost.usage import ModelUsage, Usage

OVERRIDES = "LLM_COST_PRICING_OVERRIDES"
SECONDS_BETWEEN_LOOKS = 1.0
NEVER = float("inf")
READER = "llm-cost-prices"

log = logging.getLogger(__name__)


class PriceBook:
    """Prices for one app: its overrides, its prices file and the bundled catalogue.

    The file is looked at again at most once a second. An edit is read by a thread of its own, and calls are priced
    by the table before it meanwhile; one that cannot be read leaves the last good table in place and is logged
    once. All methods may be used from any thread.

    Attributes:
        catalogue: the layers as they are now.
        file_error: why the newest edit of the prices file is not in use; ``None`` where it is.
    """

    def __init__(self, overrides: Layer, prices_file: str | None, model_aliases: Mapping[str, str]) -> None:
        self.file_error: str | None = None
        self._file_updated: object = None
        self._overrides = overrides
        self._path = prices_file
        self._aliases = model_aliases
        self._reader = threading.Thread()
        self._seen: Signature | None = None
        self._next_look = NEVER
        self.catalogue = self._stack(None)

    @classmethod
    def open(
        cls, *, overrides: Mapping[str, object], prices_file: str | None, model_aliases: Mapping[str, str]
    ) -> PriceBook:
        """Read and check an app's tables.

        Raises:
            PriceTableError: a table is malformed; the message names file or setting, model and field.
        """
        table = parse_table(overrides, OVERRIDES)
        _mention_ignored(table, OVERRIDES)
        book = cls(Layer.of("overrides", table), prices_file, dict(model_aliases))
        if prices_file is not None:
            book._seen = signature(prices_file)
            book._use(read_table(prices_file))
            book._next_look = monotonic() + SECONDS_BETWEEN_LOOKS
        book._mention_dangling_aliases()
        return book

    def price(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        mode: str | None = None,
        geo: str | None = None,
        speed: str | None = None,
        at: datetime | None = None,
        request_model: str | None = None,
        extra: tuple[ModelUsage, ...] = (),
    ) -> Receipt:
        """What a call costs.

        Args:
            model: as answered; ``request_model``, as asked for, is looked up in the app's own mapping only.
            extra: usage of other models of the same provider within the same answer; its lines name them.

        The rest is as in :func:`flask_llm_cost.pricing.price`, errors included.
        """
        if self._path is not None and monotonic() >= self._next_look:
            self._look(self._path)
        return self.catalogue.price(
            provider,
            model,
            usage,
            mode=mode,
            geo=geo,
            speed=speed,
            at=at,
            request_model=request_model,
            extra=extra,
        )

    def explain(
        self,
        provider: str,
        model: str,
        usage: Usage | None = None,
        *,
        mode: str | None = None,
        geo: str | None = None,
        speed: str | None = None,
        at: datetime | None = None,
        request_model: str | None = None,
    ) -> Explanation:
        """How a call would be priced, and why; without a usage, one token in and one token out."""
        self.refresh()
        return explain(
            self.catalogue, provider, model, usage, mode=mode, geo=geo, speed=speed, at=at, request_model=request_model
        )

    @property
    def updated(self) -> date:
        """The day on which the bundled prices were last compared with the providers' pages."""
        return bundled().updated

    def freshness(self, today: date) -> Freshness:
        """Whether the table in use is of late: the prices file where there is one, else the bundled one."""
        if self._path is None:
            return freshness("Bundled prices", self.updated, today)
        return freshness(f"{SETTING} {self._path!r}", self._file_updated, today)

    @property
    def version(self) -> str:
        """The bundled table as a footer names it: "2026-11-01 (genai-prices 0.2.3)"."""
        sources = ", ".join(f"{name} {version}" for name, version in bundled().sources.items())
        return f"{self.updated.isoformat()} ({sources})"

    def refresh(self) -> None:
        """Look at the prices file now, and read it again here if it changed."""
        if self._path is None:
            return
        self._next_look = monotonic() + SECONDS_BETWEEN_LOOKS
        found = signature(self._path)
        if found != self._seen:
            self._reload(self._path)
            self._seen = found

    def _look(self, path: str) -> None:
        """As ``refresh``, with the reading left to a thread: a whole catalogue takes a tenth of a second.

        A thread that a fork has left behind counts as dead, so the child's file is read again too.
        """
        self._next_look = monotonic() + SECONDS_BETWEEN_LOOKS
        if self._reader.is_alive() or signature(path) == self._seen:
            return
        self._reader = threading.Thread(target=self.refresh, name=READER, daemon=True)
        try:
            self._reader.start()
        except RuntimeError:
            log.debug("No thread could be started to read %r again; it is tried again later.", path)

    def _reload(self, path: str) -> None:
        try:
            self._use(read_table(path))
        except PriceTableError as error:
            self.file_error = str(error)
            log.warning("%s The last good prices stay in use.", error)
        else:
            log.info("%s %r was read again.", SETTING, path)

    def _use(self, table: Table) -> None:
        self.catalogue = self._stack(table)
        self._file_updated = table.metadata.get("updated_at")
        self.file_error = None
        _mention_ignored(table, f"{SETTING} {self._path!r}")

    def _stack(self, table: Table | None) -> Catalogue:
        file = [] if table is None else [Layer.of("file", table)]
        return Catalogue([self._overrides, *file, bundled().layer], self._aliases)

    def _mention_dangling_aliases(self) -> None:
        dangling = sorted(
            f"{name!r} → {target!r}"
            for name, target in self._aliases.items()
            if self.catalogue.match("unknown", name) is None
            and self.catalogue.match(name.partition("/")[0], name.partition("/")[2] or name) is None
        )
        if dangling:
            log.warning("LLM_COST_MODEL_ALIASES: no price table has %s.", ", ".join(dangling))


def _mention_ignored(table: Table, where: str) -> None:
    if table.ignored:
        log.warning("%s: these keys are no prices and were ignored: %s.", where, ", ".join(table.ignored))
