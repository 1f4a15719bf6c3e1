"""Write Grafana's dashboards from airfleet's definitions (`contract/dashboards`), with Grafana's own library.

python tools/dashboards.py           write the files
python tools/dashboards.py --check   exit with 1 when a file is not what the definitions say
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any, assert_never

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from airfleet_provider.contract.dashboards.catalogue import DASHBOARDS, MARKS
from airfleet_provider.contract.dashboards.panels import Dashboard, Draw, Panel, PanelUnit, Query

FOLDER = Path(__file__).parents[1] / "src" / "airfleet" / "components" / "monitoring" / "dashboards"
# The uid of the data source that airfleet's provisioning file makes.
SOURCE = models.DataSourceRef(type_val="prometheus", uid="airfleet")
HEIGHTS = {Draw.LINES: 8, Draw.NUMBER: 4, Draw.TABLE: 8}
GOOD, BAD = "green", "red"
PanelBuilder = timeseries.Panel | stat.Panel | table.Panel


def render(dashboard: Dashboard) -> str:
    """Return the JSON of one dashboard, as Grafana's provisioning reads it."""
    builder = (
        builders.Dashboard(dashboard.title)
        .uid(dashboard.name)
        .description(dashboard.help)
        .tags(["airfleet"])
        .timezone("browser")
        .refresh("30s")
        .time("now-6h", "now")
        .link(builders.DashboardLink("airfleet").type(models.DashboardLinkType.DASHBOARDS).tags(["airfleet"]))
    )
    for mark in MARKS:
        builder.annotation(
            builders.AnnotationQuery()
            .name(mark.title)
            .datasource(SOURCE)
            .enable(True)
            .icon_color("blue")
            .expr(mark.expr)
        )
    for panel in dashboard.panels:
        builder.with_panel(_build(panel))
    described: dict[str, Any] = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    # The library does not know these two fields of a Prometheus annotation.
    for written, mark in zip(described["annotations"]["list"], MARKS, strict=True):
        written |= {"titleFormat": mark.title, "textFormat": mark.text}
    return json.dumps(described, indent=1) + "\n"


def _build(panel: Panel) -> PanelBuilder:
    builder = _choose(panel)
    (
        builder.title(panel.title)
        .description(panel.help)
        .datasource(SOURCE)
        .span(panel.width)
        .height(HEIGHTS[panel.draw])
        .unit("short" if panel.unit is PanelUnit.YES else str(panel.unit))
        .thresholds(_draw_limit(panel))
    )
    for letter, query in zip(string.ascii_uppercase, panel.queries, strict=False):
        builder.with_target(_ask(panel, letter, query))
    return builder


def _choose(panel: Panel) -> PanelBuilder:
    match panel.draw:
        case Draw.LINES:
            lines = timeseries.Panel().fill_opacity(8)
            if panel.limit is not None:
                style = common_builders.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
                lines.thresholds_style(style)
            return lines
        case Draw.NUMBER:
            return stat.Panel()
        case Draw.TABLE:
            return table.Panel()
        case _ as never:
            assert_never(never)


def _draw_limit(panel: Panel) -> builders.ThresholdsConfig:
    first, then = (BAD, GOOD) if panel.below else (GOOD, BAD)
    steps = [models.Threshold(value=None, color=first if panel.limit is not None else GOOD)]
    if panel.limit is not None:
        steps.append(models.Threshold(value=panel.limit, color=then))
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _ask(panel: Panel, letter: str, query: Query) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE)
    if query.legend:
        asked.legend_format(query.legend)
    if panel.draw is Draw.LINES:
        return asked.range()
    return asked.instant().format(PromQueryFormat.TABLE if panel.draw is Draw.TABLE else PromQueryFormat.TIME_SERIES)


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them. Return the exit code, which is 1 for a difference."""
    wanted = {FOLDER / f"{dashboard.name}.json": render(dashboard) for dashboard in DASHBOARDS}
    written = {path: path.read_text() for path in FOLDER.glob("*.json")}
    if arguments == ["--check"]:
        stale = [path.name for path in {**wanted, **written} if wanted.get(path) != written.get(path)]
        if stale:
            print(f"run python tools/dashboards.py: {', '.join(sorted(stale))}", file=sys.stderr)
        return 1 if stale else 0
    for path in written.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
