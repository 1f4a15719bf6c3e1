"""Build the archives of Python packages that the steps of a survey unpack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan.steps import Unpack
from airfleet.runners.fleet.survey.host_survey import Survey


def build(survey: Survey, tell: Callable[[str], None]) -> dict[str, Path]:
    """Return each archive by its name. An archive that is not in the cache is built now."""
    unpacked = {step.action.digest for step in survey.steps if isinstance(step.action, Unpack)}
    known = (recipe for view in survey.views for recipe in (view.recipe, view.patroni, view.logs) if recipe)
    recipes = {recipe.digest: recipe for recipe in known if recipe.digest in unpacked}
    cache = airflow_archive.find_cache()
    return {digest: airflow_archive.ensure(recipe, cache, tell) for digest, recipe in recipes.items()}
