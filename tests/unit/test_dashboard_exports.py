"""Cells that a spreadsheet opens without running them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.dashboard.exports import safe_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\n-1", "\tplain", "\rplain"])
def test_what_looks_like_a_formula_is_prefixed(text: str) -> None:
    """Also behind white space, which is kept; tab and carriage return are dangerous by themselves.

    Covers P-DASH-CSV-04, and what P-DASH-CSV-05 marks as weak.
    """
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("gpt-4o", "gpt-4o"),
        (True, "true"),
        (12, "12"),
        (Decimal("0.000000001"), "0.000000001"),
        (Decimal("-1.5"), "-1.5"),
    ],
)
def test_figures_stay_figures(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


@given(st.text())
def test_no_text_comes_out_as_a_formula(text: str) -> None:
    cell = safe_cell(text)
    assert cell.lstrip()[:1] not in {"=", "+", "-", "@"}
    assert cell[:1] not in {"\t", "\r"}
    assert cell.removeprefix("'") == text.removeprefix("'")
