"""Numbers of price tables and of usage: exact, finite, never negative, and of a size that arithmetic can bear."""

from __future__ import annotations

from decimal import MAX_PREC, ROUND_HALF_UP, Context, Decimal, InvalidOperation

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.usage import Quantity

# The app's own decimal context may round to five digits or trap; money never does either.
EXACT = Context(prec=MAX_PREC, rounding=ROUND_HALF_UP)
# 10^9 USD and 18 decimals are far outside every price list; a text such as "1e999999999" is an attack.
MOST_USD = Decimal("1E9")
MOST_DECIMALS = 18
MOST_SHOWN = 60
# An exact ratio of 1E-999999 would fill the memory.
MOST_DIGITS = 30


def shown(value: object) -> str:
    """A value as an error message shows it: short, on one line."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def named(key: object) -> str:
    """A key as an error message names it: bare where that stays on one line."""
    return key if isinstance(key, str) and key.isprintable() and len(key) <= 2 * MOST_SHOWN else shown(key)


def as_rate_number(value: object, place: str) -> Decimal:
    """The exact number a table means: ``0.1`` is one tenth, be it written as a text or as a float.

    Raises:
        PriceTableError: not a number, negative, not finite, or absurdly large or long.
    """
    number = _decimal(value)
    if number is None:
        raise PriceTableError(f"{place}: {shown(value)} is not a number.")
    if not number.is_finite():
        raise PriceTableError(f"{place}: {shown(value)} is not finite.")
    if number.is_signed() and number != 0:
        raise PriceTableError(f"{place}: {shown(value)} is negative; 0 or more is allowed.")
    exponent = number.as_tuple().exponent
    if number.adjusted() > MOST_USD.adjusted() or not isinstance(exponent, int) or exponent < -MOST_DECIMALS:
        raise PriceTableError(
            f"{place}: {shown(value)} is out of range; at most 10^9 with at most {MOST_DECIMALS} decimals is allowed."
        )
    return number.copy_abs()


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return Decimal(str(value).strip()) if isinstance(value, float | str) else Decimal(value)
    except (InvalidOperation, ValueError):
        return None


def check_quantity(name: str, quantity: Quantity) -> None:
    """Refuse what no provider file may hand over.

    Raises:
        TypeError: not a whole number or a Decimal; floats never touch money.
        ValueError: negative, not finite, or far from anything that can be counted.
    """
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal):
        raise TypeError(f"The quantity of {name!r} is {quantity!r}; an int or a Decimal is needed.")
    if isinstance(quantity, Decimal) and not quantity.is_finite():
        raise ValueError(f"The quantity of {name!r} is {quantity!r}; a finite number is needed.")
    if isinstance(quantity, Decimal) and abs(quantity.adjusted()) > MOST_DIGITS and quantity:
        raise ValueError(f"The quantity of {name!r} is {quantity!r}; that is out of range.")
    if quantity < 0:
        raise ValueError(f"The quantity of {name!r} is {quantity!r}; it cannot be negative.")
