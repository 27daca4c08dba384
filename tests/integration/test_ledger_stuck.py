"""An event that fails with an error that could as well be the database's: bounded, and never in an outage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import URL, func, select, text

from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Call, Daily, DeadLetter

MakeEvent = Callable[..., Event]

# A trigger of the operator's own: its error says nothing about whose fault it is.
REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF {condition} THEN RAISE EXCEPTION 'not today'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON llm_cost_calls FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
def spooled(open_ledger: Any, postgres_url: URL) -> Ledger:
    """A ledger that ships only when told to."""
    ledger = open_ledger(postgres_url, durability="spool")
    ledger._spooled.shipper.stop(0)
    return ledger


def refuse(ledger: Ledger, condition: str) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text(REFUSES.format(condition=condition)))


def found(ledger: Ledger) -> tuple[int, int, int]:
    """Calls, calls in the rollups, dead letters."""
    with ledger.session() as session:
        counts = (func.count(Call.id), func.coalesce(func.sum(Daily.calls), 0), func.count(DeadLetter.id))
        return tuple(int(session.execute(select(count)).scalar_one()) for count in counts)  # type: ignore[return-value]


@pytest.mark.postgres
def test_an_event_that_alone_goes_on_failing_is_given_up(
    spooled: Ledger, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its neighbours go in as soon as it is told from them; it goes to the dead letters, whole, after a while.

    Covers P-INB-12, P-ING-16.
    """
    monkeypatch.setattr("flask_llm_cost.ledger.delivery.GIVEN_UP_AFTER", 3600)
    refuse(spooled, "NEW.provider_response_id = 'poison'")
    events = [make_event() for _ in range(7)]
    bad = make_event(provider_response_id="poison")
    for event in (*events[:4], bad, *events[4:]):
        spooled.record(event)
    ship = spooled._spooled.shipper.ship_one
    assert [ship() for _ in range(5)] == [False] * 5
    assert found(spooled) == (0, 0, 0)
    assert [ship() for _ in range(8)] == [False] * 8
    assert found(spooled) == (7, 7, 0)
    assert spooled.last_error is not None
    monkeypatch.setattr("flask_llm_cost.ledger.delivery.GIVEN_UP_AFTER", 0)
    assert ship()
    assert found(spooled) == (7, 7, 1)
    assert spooled.last_error is None
    assert spooled.backlog().records == 0
    assert spooled.upkeep.verify_rollups().rows == {}


@pytest.mark.postgres
def test_nothing_is_given_up_while_nothing_can_be_written(
    spooled: Ledger, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event fails, with the same odd error, for as long as it takes: all of them wait. Covers P-STO-04."""
    monkeypatch.setattr("flask_llm_cost.ledger.delivery.GIVEN_UP_AFTER", 0)
    refuse(spooled, "true")
    for _ in range(3):
        spooled.record(make_event())
    assert [spooled._spooled.shipper.ship_one() for _ in range(20)] == [False] * 20
    assert found(spooled) == (0, 0, 0)
    with spooled.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER refuse ON llm_cost_calls"))
    assert spooled._spooled.shipper.ship_one()
    assert found(spooled) == (3, 3, 0)


@pytest.mark.postgres
def test_an_event_of_a_model_that_is_refused_is_given_up_too(
    spooled: Ledger, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a bare copy of that model goes in, at any time; of any other it does: what is behind it goes in."""
    monkeypatch.setattr("flask_llm_cost.ledger.delivery.GIVEN_UP_AFTER", 3600)
    refuse(spooled, "NEW.model = 'poison'")
    for event in (make_event(), make_event(model="poison"), make_event()):
        spooled.record(event)
    ship = spooled._spooled.shipper.ship_one
    assert [ship() for _ in range(12)] == [False] * 12
    assert found(spooled) == (2, 2, 0)
    monkeypatch.setattr("flask_llm_cost.ledger.delivery.GIVEN_UP_AFTER", 0)
    assert ship()
    assert found(spooled) == (2, 2, 1)
    assert spooled.backlog().records == 0
    assert spooled.upkeep.verify_rollups().rows == {}


@pytest.mark.postgres
def test_nothing_is_given_up_while_rows_of_its_model_are_held(
    spooled: Ledger, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's transaction keeps a row of the model's rollup locked past the server's own limit of a statement.

    Other models go in meanwhile, and so would this one at another time: it waits, and goes in when the row is free.
    """
    monkeypatch.setattr("flask_llm_cost.ledger.delivery.GIVEN_UP_AFTER", 0)
    spooled.write([make_event(model="held")])
    with spooled.engine.begin() as connection:
        database = connection.scalar(text("SELECT quote_ident(current_database())"))
        connection.execute(text(f"ALTER DATABASE {database} SET statement_timeout = '30ms'"))
    spooled.engine.dispose()
    spooled._engines.write.dispose()
    ship = spooled._spooled.shipper.ship_one
    with spooled.engine.connect() as holder:
        holder.execute(text("SET statement_timeout = 0"))
        holder.execute(select(Daily).where(Daily.model == "held").with_for_update())
        spooled.record(make_event(model="held"))
        assert [ship() for _ in range(15)] == [False] * 15
        assert "statement timeout" in str(spooled.last_error)
        assert found(spooled) == (1, 1, 0)
    assert ship()
    assert found(spooled) == (2, 2, 0)


def test_what_cannot_be_read_is_buried_once(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its neighbours have to be tried again and again. Covers P-INB-13, P-ING-17."""
    ledger = open_ledger(sqlite_url, durability="spool", migrate=False)
    ledger._spooled.shipper.stop(0)
    ledger.record(make_event())
    ledger._spooled.spool.append(b"no event")
    assert [ledger._spooled.shipper.ship_one() for _ in range(3)] == [False] * 3
    ledger.upgrade()
    assert ledger._spooled.shipper.ship_one()
    assert found(ledger) == (1, 1, 1)
