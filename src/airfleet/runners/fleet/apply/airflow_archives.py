"""Build the archives of Airflow's packages that the steps of a survey unpack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan.steps import Unpack
from airfleet.runners.fleet.survey.host_survey import Survey


def build(survey: Survey, tell: Callable[[str], None]) -> dict[str, Path]:
    """Return each archive by its name. An archive that is not in the cache is built now."""
    recipes = {
        view.recipe.digest: view.recipe
        for view in survey.views
        for step in view.steps
        if isinstance(step.action, Unpack)
    }
    cache = airflow_archive.find_cache()
    return {digest: airflow_archive.ensure(recipe, cache, tell) for digest, recipe in recipes.items()}
