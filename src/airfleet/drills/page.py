"""Render outcomes as one HTML page, which needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from airfleet.drills.catalogue import MEASURES
from airfleet.drills.outcome import Outcome
from airfleet.drills.timeline import render_timeline


def render_page(outcomes: Sequence[Outcome], *, title: str, subtitle: str) -> str:
    """Return a page with a table of all drills, and then the figures and the time line of each."""
    kept = sum(one.is_kept for one in outcomes)
    return _PAGE.substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        verdict=f"{kept} of {len(outcomes)} kept what they promise",
        tone="good" if kept == len(outcomes) else "bad",
        rows="".join(_render_row(number, one) for number, one in enumerate(outcomes)),
        drills="".join(_render_drill(number, one) for number, one in enumerate(outcomes)),
    )


def _render_row(number: int, one: Outcome) -> str:
    found = one.findings
    cells = [
        f'<td><a href="#d{number}">{escape(one.drill.title)}</a></td>',
        f"<td>{escape(one.platform)}</td>",
        f"<td>{escape(one.drill.measure)}</td>",
        f'<td class="n">{_got(one)}</td>',
        f'<td class="n">{_seconds(one.drill.bar_s)}</td>',
        *(_render_count(len(cases)) for cases in (found.lost, found.doubled)),
        _render_count(len(found.killed), is_allowed=one.drill.may_kill),
        f'<td><span class="mark {_tone(one)}">{"kept" if one.is_kept else "broken"}</span></td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _render_drill(number: int, one: Outcome) -> str:
    found, drill = one.findings, one.drill
    tiles = [
        (_got(one), MEASURES[drill.measure]),
        (str(len(found.lost)), "lost"),
        (str(len(found.doubled)), "done twice at once"),
        (str(len(found.killed)), "killed"),
        (f"{found.usual_gap.seconds:.1f} s", "longest gap before"),
        (f"{found.longest_gap.seconds:.1f} s", "longest gap after"),
        (f"{found.rate:.2f} /s", f"tasks; {found.wanted:,} wanted, {found.started:,} attempts"),
    ]
    broken = "".join(f"<li>{escape(what)}</li>" for what in one.broken)
    return _DRILL.substitute(
        id=f"d{number}",
        title=escape(drill.title),
        platform=escape(one.platform),
        name=escape(drill.name),
        done=escape(drill.done),
        promised=escape(drill.promised),
        mark=f'<span class="mark {_tone(one)}">{"kept" if one.is_kept else "broken"}</span>',
        broken=f'<ul class="broken">{broken}</ul>' if broken else "",
        tiles="".join(f'<div class="tile"><b>{value}</b><span>{escape(label)}</span></div>' for value, label in tiles),
        timeline=render_timeline(one),
    )


def _render_count(number: int, *, is_allowed: bool = False) -> str:
    return f'<td class="n{" some" if number and not is_allowed else ""}">{number}</td>'


def _got(one: Outcome) -> str:
    return _seconds(one.got_s) if one.got_s is not None else "never"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _tone(one: Outcome) -> str:
    return "good" if one.is_kept else "bad"


_DRILL = Template("""
<section id="$id">
<h2>$title <small>$name on $platform</small> $mark</h2>
<p>$done <em>$promised</em></p>
$broken
<div class="tiles">$tiles</div>
<div class="scroll">$timeline</div>
</section>""")

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b2733; --muted: #5c6874; --line: #dfe5ea; --paper: #f3f6f8; --card: #fff;
  --good: #0b7a55; --bad: #c0322b; --fault: #b4540a; --lane: #f3f6f8; --starts: #7b93ab; --done: #4a90c4;
  --gap: #fbe3c8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --muted: #9aa7b4; --line: #2c3742; --paper: #11171d;
  --card: #1a222b; --good: #45c592; --bad: #ff7b72; --fault: #f0a35e; --lane: #141b22; --starts: #6f869d;
  --done: #4a90c4; --gap: #4a3318; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem 1rem 3rem; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.15; letter-spacing: -.02em; }
header p { margin: .3rem 0 0; color: var(--muted); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.1rem 1.2rem;
  margin-top: 1rem; }
h2 { margin: 0 0 .2rem; font-size: 1.15rem; }
h2 small { color: var(--muted); font-weight: 400; font-size: .85rem; margin-left: .4rem; }
section p { margin: 0 0 .8rem; color: var(--muted); max-width: 60rem; }
section em { color: var(--ink); font-style: normal; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .38rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--muted); font-weight: 500; font-size: .88rem; }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; }
td.some { color: var(--bad); font-weight: 600; }
a { color: inherit; text-underline-offset: 3px; text-decoration-color: var(--muted); }
.mark { font-size: .8rem; font-weight: 600; padding: .1rem .55rem; border-radius: 99px;
  border: 1px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); }
.broken { margin: 0 0 .8rem; padding-left: 1.1rem; color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.4rem, 1fr)); gap: .5rem; margin-bottom: 1rem; }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: .5rem .7rem; }
.tile b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: .8rem; line-height: 1.25; display: block; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 44rem; height: auto; font-size: 11px; }
svg text { fill: var(--muted); } svg .host { text-anchor: end; } svg .tick { text-anchor: middle; }
.lane { fill: var(--lane); } .axis { stroke: var(--line); } .starts { fill: var(--starts); } .gap { fill: var(--gap); }
.done { fill: var(--done); } .killed { fill: var(--bad); } .doubled { fill: #8e44ad; }
.event { stroke-dasharray: 3 3; stroke: var(--muted); } .event.fault { stroke: var(--fault); }
.event.back { stroke: var(--good); }
svg .label.fault { fill: var(--fault); } svg .label.back { fill: var(--good); }
.legend span { margin-right: 1.1rem; white-space: nowrap; }
.legend i { display: inline-block; width: .75rem; height: .75rem; border-radius: 3px; margin-right: .35rem;
  vertical-align: -1px; }
footer { color: var(--muted); font-size: .86rem; margin-top: 1.2rem; }
</style>
</head>
<body>
<main>
<header><h1>$title</h1><p>$subtitle · <strong class="$tone">$verdict</strong></p></header>
<section><div class="scroll"><table>
<tr><th>drill</th><th>on</th><th>measured</th><th class="n">got</th>
<th class="n">bar</th><th class="n">lost</th><th class="n">twice</th>
<th class="n">killed</th><th></th></tr>
$rows</table></div></section>
$drills
<footer>
<p class="legend"><span><i style="background:var(--done)"></i>attempt that ended well</span>
<span><i style="background:var(--bad)"></i>attempt that did not</span>
<span><i style="background:#8e44ad"></i>two at once</span>
<span><i style="background:var(--gap)"></i>longest time without a start</span></p>
<p>Every figure is read from what the tasks themselves wrote to disk at the start and the end of every attempt, not
from Airflow's tables. Lost: should have run to its end and did not. Done twice at once: two attempts of one task
instance alive together. Killed: an attempt that its own code did not end.</p></footer>
</main>
</body>
</html>
""")
