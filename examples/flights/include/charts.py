"""The charts of the report: figures in, SVG out, the same bytes for the same figures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from include.figures import Figures, rank_carriers, total

INK, MUTED, GRID, FAINT = "#1b2733", "#66727f", "#e4e9ee", "#c9d2da"
GOOD, BAD, CALM = "#0b7a75", "#d2492e", "#2f6f9f"
SCALE = LinearSegmentedColormap.from_list("punctuality", [BAD, "#f3a87c", "#f6ecd9", "#7dbfae", GOOD])
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEATHER = {"precip": "Rain and snow\ninches an hour", "visib": "Visibility\nmiles", "wind_speed": "Wind\nmph"}
STYLE: dict[Any, Any] = {
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "flights",
    "svg.fonttype": "path",
}


def draw_all(figures: Figures) -> dict[str, bytes]:
    """Return every chart by name."""
    with matplotlib.rc_context(STYLE):
        return {name: _to_svg(draw(figures)) for name, draw in CHARTS.items()}


def draw_carriers(figures: Figures) -> Figure:
    """Show each carrier's share of flights on time with its 95 % interval."""
    carriers = rank_carriers(figures)[::-1]
    mean = total(figures["carriers"], "on_time") / total(figures["carriers"], "flights")
    figure, axes = _canvas(5.6)
    axes.axvline(mean, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"all {mean:.0%}", (mean, 1), (4, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
        color=MUTED, fontsize=10, va="top",
    )  # fmt: skip
    for place, row in enumerate(carriers):
        color = GOOD if row["low"] > mean else BAD if row["high"] < mean else CALM
        axes.plot(
            [row["low"], row["high"]], [place, place], color=color, linewidth=5, alpha=0.35, solid_capstyle="round"
        )
        axes.plot(row["on_time_rate"], place, "o", color=color, markersize=7)
        axes.annotate(
            f"{row['flights']:,}", (1.0, place), (-2, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", color=MUTED, fontsize=9.5, ha="right", va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(carriers)), [_short_name(row["name"]) for row in carriers])
    axes.set_xlim(min(row["low"] for row in carriers) - 0.02, max(row["high"] for row in carriers) + 0.055)
    _show_percent(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def draw_months(figures: Figures) -> Figure:
    """Show the share on time and the mean arrival delay of each month."""
    months = figures["months"]
    labels, places = [_name_month(row["month"]) for row in months], range(len(months))
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    rates = [row["on_time"] / row["loaded"] for row in months]
    above.fill_between(places, rates, min(rates) - 0.06, color=GOOD, alpha=0.10, linewidth=0)
    above.plot(places, rates, "-o", color=GOOD, linewidth=2.2, markersize=6)
    for rate, lift in ((max(rates), 8), (min(rates), -16)):
        above.annotate(f"{rate:.0%}", (rates.index(rate), rate), (0, lift), textcoords="offset points", ha="center")
    above.set_ylim(min(rates) - 0.06, max(rates) + 0.05)
    _show_percent(above, "y")
    above.set_title("On time", loc="left", fontsize=11.5, color=MUTED)
    delays = [row["mean_arrival_delay"] or 0 for row in months]
    bars = below.bar(places, delays, color=[BAD if delay > 0 else GOOD for delay in delays], width=0.66)
    below.bar_label(bars, [str(round(delay)) for delay in delays], padding=2, fontsize=9.5, color=MUTED)
    below.axhline(0, color=FAINT, linewidth=1)
    below.set_title("Mean arrival delay, minutes", loc="left", fontsize=11.5, color=MUTED)
    below.set_yticks([])
    below.margins(y=0.22)
    below.spines["left"].set_visible(False)
    below.set_xticks(places, labels)
    return figure


def draw_hours(figures: Figures) -> Figure:
    """Show how delay builds up over the day."""
    hours = [row for row in figures["hours"] if row["departed"] >= 100]
    shares = [row["late"] / row["departed"] for row in hours]
    figure, axes = _canvas(4.2)
    norm = Normalize(min(shares), max(shares))
    colors = [SCALE(1 - norm(share)) for share in shares]
    bars = axes.bar([row["hour"] for row in hours], shares, color=colors, width=0.82)
    axes.bar_label(bars, [f"{100 * share:.0f}" for share in shares], padding=2, fontsize=9.5, color=MUTED)
    axes.set_xticks(list(range(6, 24, 3)), [f"{hour}:00" for hour in range(6, 24, 3)])
    axes.set_xlabel("scheduled hour of departure")
    _show_percent(axes, "y")
    return figure


def draw_origins(figures: Figures) -> Figure:
    """Show the share on time of each airport in each month."""
    origins = sorted({row["origin"] for row in figures["origins"]})
    months = sorted({row["month"] for row in figures["origins"]})
    rates = {(row["month"], row["origin"]): row["on_time"] / row["flights"] for row in figures["origins"]}
    figure, axes = _canvas(5.6)
    grid = [[rates.get((month, origin), float("nan")) for origin in origins] for month in months]
    norm = Normalize(min(rates.values()), max(rates.values()))
    axes.pcolormesh(grid, cmap=SCALE, norm=norm, edgecolors="white", linewidth=2)
    for (month, origin), rate in rates.items():
        dark = not 0.22 < norm(rate) < 0.82
        axes.text(
            origins.index(origin) + 0.5, months.index(month) + 0.5, f"{rate:.0%}",
            ha="center", va="center", fontsize=10.5, color="white" if dark else INK,
        )  # fmt: skip
    axes.set_xticks([place + 0.5 for place in range(len(origins))], origins, fontweight="bold")
    axes.set_yticks([place + 0.5 for place in range(len(months))], [_name_month(month) for month in months])
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def draw_weather(figures: Figures) -> Figure:
    """Show how many departures are late in which weather."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    panels = figure.subplots(1, len(WEATHER), sharey=True)
    for axes, (measure, title) in zip(panels, WEATHER.items(), strict=True):
        bands = [row for row in figures["weather"] if row["measure"] == measure and row["departed"]]
        shares = [row["late"] / row["departed"] for row in bands]
        colors = [SCALE(0.97 - min(share, 0.5) * 1.9) for share in shares]
        bars = axes.bar(range(len(bands)), shares, color=colors, width=0.8)
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=2, fontsize=9.5)
        axes.set_xticks(range(len(bands)), [row["band"] for row in bands], fontsize=9.5, rotation=35, ha="right")
        axes.set_title(title, fontsize=11, color=MUTED)
        axes.tick_params(axis="x", length=0)
        _show_percent(axes, "y")
    return figure


def draw_routes(figures: Figures) -> Figure:
    """Show where the flights go: size is traffic, colour is punctuality."""
    places: dict[str, dict[str, Any]] = {}
    for row in figures["routes"]:
        if row["lon"] > -126:
            place = places.setdefault(row["dest"], {**row, "flights": 0, "on_time": 0})
            place["flights"] += row["flights"]
            place["on_time"] += row["on_time"]
    busy = sorted((row for row in places.values() if row["flights"] >= 100), key=lambda row: -row["flights"])
    figure, axes = _canvas(4.0)
    axes.scatter(*_spread(figures["airports"]), s=3, color="#aab6c0", linewidths=0)
    colors = [row["on_time"] / row["flights"] for row in busy]
    norm = Normalize(0.66, 0.86)
    axes.scatter(
        *_spread(busy), s=[row["flights"] / 36 for row in busy], c=colors, cmap=SCALE, norm=norm,
        edgecolors=INK, linewidths=0.5,
    )  # fmt: skip
    halo = [withStroke(linewidth=2.4, foreground="white")]
    named: list[tuple[float, float]] = []
    for row in busy[:24]:
        spot = row["lon"], row["lat"]
        if all(abs(spot[0] - lon) > 3.2 or abs(spot[1] - lat) > 1.5 for lon, lat in named):
            named.append(spot)
            axes.annotate(
                row["dest"], spot, (0, 3 + (row["flights"] / 36 / 3.14) ** 0.5), textcoords="offset points",
                ha="center", va="bottom", fontsize=9, fontweight="bold", path_effects=halo,
            )  # fmt: skip
    axes.set_xlim(-125.5, -66)
    axes.set_ylim(24, 50)
    axes.set_aspect(1.3)
    axes.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(norm, SCALE), ax=axes, orientation="horizontal", shrink=0.45, aspect=26, pad=0.01, extend="both"
    )
    bar.ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.ax.tick_params(length=0, labelsize=9.5)
    bar.outline.set_visible(False)
    return figure


CHARTS: dict[str, Callable[[Figures], Figure]] = {
    "carriers": draw_carriers,
    "months": draw_months,
    "hours": draw_hours,
    "origins": draw_origins,
    "weather": draw_weather,
    "routes": draw_routes,
}


def _canvas(height: float) -> tuple[Figure, Axes]:
    # Figure and not pyplot: no global state, no display.
    figure = Figure(figsize=(6.4, height), layout="constrained")
    return figure, figure.subplots()


def _show_percent(axes: Axes, which: Literal["x", "y"]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(True, axis=which)
    axes.tick_params(axis=which, length=0)
    if which == "y":
        axes.spines["left"].set_visible(False)


def _spread(rows: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [row["lon"] for row in rows], [row["lat"] for row in rows]


def _name_month(month: str) -> str:
    return MONTHS[int(month[5:]) - 1]


def _short_name(name: str) -> str:
    for tail in (" Inc.", " Co.", " Corporation", " Airways", " Airlines", " Air Lines", " Airlines Inc."):
        name = name.removesuffix(tail)
    return name


def _to_svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue()
