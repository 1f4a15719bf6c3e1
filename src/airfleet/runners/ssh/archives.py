"""The archives of Airflow's packages that a survey's steps unpack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from airfleet.runners.ssh import runtime
from airfleet.runners.ssh.inspect import Survey
from airfleet.runners.ssh.steps import Unpack


def build(survey: Survey, tell: Callable[[str], None]) -> dict[str, Path]:
    """Each archive by its name, built now unless it is in the cache."""
    recipes = {
        view.recipe.digest: view.recipe
        for view in survey.views
        for step in view.steps
        if isinstance(step.action, Unpack)
    }
    cache = runtime.find_cache()
    return {digest: runtime.ensure(recipe, cache, tell) for digest, recipe in recipes.items()}
