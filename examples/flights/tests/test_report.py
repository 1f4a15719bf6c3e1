"""The page holds everything it shows, and the summary adds up."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from include.charts import CHARTS, draw_all
from include.figures import Figures, dump_summary, load_figures, save_figures, summarize
from include.page import CARDS, render_page


@pytest.fixture
def figures() -> Figures:
    def carrier(code: str, flights: int, rate: float) -> dict[str, object]:
        return {
            "carrier": code, "name": f"{code} & Co.", "flights": flights, "cancelled": 1,
            "on_time": int(flights * rate),
            "on_time_rate": rate, "low": rate - 0.02, "high": rate + 0.02, "mean_arrival_delay": 3.2,
        }  # fmt: skip

    month = {"loaded": 2_600, "cancelled": 20, "diverted": 5, "arrived": 2_575, "on_time": 2_000}
    return {
        "made": [{"months": 2, "on_time_minutes": 15, "settled_at": "2014-01-01T00:00:00Z"}],
        "months": [
            {**month, "month": f"2013-0{number}", "rows": 2_700, "quarantined": 100, "mean_arrival_delay": 4.0 - number}
            for number in (1, 2)
        ],
        "reasons": [{"reason": "unknown_destination", "rows": 150}, {"reason": "implausible_speed", "rows": 50}],
        "carriers": [carrier("HA", 200, 0.9), carrier("UA", 3_000, 0.8), carrier("EV", 2_000, 0.6)],
        "hours": [
            {"hour": hour, "flights": 300, "departed": 290, "late": hour * 5, "mean_departure_delay": 3.0}
            for hour in range(5, 23)
        ],
        "origins": [
            {"month": f"2013-0{number}", "origin": origin, "flights": 100, "on_time": 60 + number * 7}
            for number in (1, 2)
            for origin in ("EWR", "JFK", "LGA")
        ],
        "weather": [
            {"measure": measure, "place": 1, "band": "all", "flights": 9, "cancelled": 0, "departed": 9, "late": 3}
            for measure in ("precip", "visib", "wind_speed")
        ],
        "routes": [
            {"origin": "EWR", "dest": "ORD", "dest_name": "O'Hare", "lat": 42.0, "lon": -88.0, "flights": 500,
             "on_time": 400, "on_time_rate": 0.8}
        ],
        "airports": [{"lat": 42.0, "lon": -88.0}, {"lat": 33.9, "lon": -118.4}],
    }  # fmt: skip


def test_the_summary_adds_up_and_ranks_only_carriers_with_enough_flights(figures: Figures) -> None:
    summary = summarize(figures)
    assert summary["rows"] == summary["loaded"] + summary["quarantined"] == 5_400
    assert summary["quarantined_by_reason"] == {"unknown_destination": 150, "implausible_speed": 50}
    assert (summary["best_carrier"]["carrier"], summary["worst_carrier"]["carrier"]) == ("UA", "EV")
    assert json.loads(dump_summary(figures)) == summary


def test_figures_survive_their_file(figures: Figures, tmp_path: Path) -> None:
    assert load_figures(save_figures(tmp_path / "figures.json", figures)) == figures


def test_the_page_needs_nothing_else_and_escapes_names(figures: Figures) -> None:
    charts = draw_all(figures)
    assert set(charts) == set(CHARTS) == {card.chart for card in CARDS}
    page = render_page(figures, charts).decode()
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("data:image/svg+xml;base64,") == len(CARDS)
    assert "UA &amp; Co." in page
    assert "UA & Co." not in page


def test_the_same_figures_make_the_same_page(figures: Figures) -> None:
    assert render_page(figures, draw_all(figures)) == render_page(figures, draw_all(figures))
