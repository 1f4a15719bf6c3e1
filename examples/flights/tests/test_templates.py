"""The SQL templates say what the variables and limits ask for."""

from __future__ import annotations

from itertools import pairwise

from include.settings import WEATHER_BANDS
from tests.templates import render


def test_on_time_is_under_15_minutes_unless_the_variable_says_otherwise() -> None:
    assert "arr_delay < 15" in render("refresh_months.sql")
    assert "arr_delay < 30" in render("refresh_months.sql", flights_on_time_minutes="30")


def test_every_weather_measure_is_cut_into_its_bands() -> None:
    sql = render("refresh_months.sql")
    assert sql.count("insert into mart_weather") == len(WEATHER_BANDS)
    for measure, bands in WEATHER_BANDS.items():
        assert f"w.{measure} >= b.low" in sql
        for place, (band, _, _) in enumerate(bands, start=1):
            assert f"({place}, '{band}'," in sql


def test_weather_bands_leave_no_gap() -> None:
    for bands in WEATHER_BANDS.values():
        edges = sorted((low, high) for _, low, high in bands)
        assert all(below[1] == above[0] for below, above in pairwise(edges))


def test_the_share_refused_is_a_limit_of_the_gate() -> None:
    assert "refused < rows * 0.05" in render("check_facts.sql")
