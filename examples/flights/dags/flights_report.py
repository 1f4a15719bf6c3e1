"""Draws the year and publishes one page about it."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag, task

from include.assets import MARTS
from include.settings import CONNECTION, DEFAULT_ARGS

DOC = """
### flights_report

Starts when `flights_marts` has made the tables of the year. Reads them into one file of figures, draws the charts, and
publishes two files in the folder `flights_reports`: **index.html**, one page that needs nothing else and can be sent by
mail, and **summary.json**, the same totals for programs. Both appear whole or not at all, and the same warehouse always
gives the same figures.
"""


@dag(
    schedule=[MARTS],
    start_date=datetime(2013, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["flights", "report"],
    doc_md=DOC,
)
def flights_report() -> None:
    @task
    def collect() -> str:
        """Read the marts into a file of figures and return its path."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        from include.figures import read_figures, save_figures
        from include.settings import report_folder

        figures = read_figures(PostgresHook(CONNECTION).get_conn())
        return str(save_figures(report_folder() / "figures.json", figures))

    @task
    def draw(figures: str) -> str:
        """Draw the charts and return their folder."""
        from pathlib import Path

        from include.charts import draw_all
        from include.figures import load_figures
        from include.files import write_whole

        folder = Path(figures).parent / "charts"
        for name, svg in draw_all(load_figures(Path(figures))).items():
            write_whole(folder / f"{name}.svg", svg)
        return str(folder)

    @task
    def publish(figures: str, charts: str) -> str:
        """Write the page and the summary and return the path of the page."""
        from pathlib import Path

        from include.figures import dump_summary, load_figures
        from include.files import write_whole
        from include.page import render_page
        from include.settings import report_folder

        read = load_figures(Path(figures))
        page = report_folder() / "index.html"
        write_whole(page, render_page(read, {file.stem: file.read_bytes() for file in Path(charts).glob("*.svg")}))
        write_whole(page.with_name("summary.json"), dump_summary(read))
        return str(page)

    figures = collect()
    publish(figures, draw(figures))


flights_report()
