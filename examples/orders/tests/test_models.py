"""Models are found, ordered and named."""

from __future__ import annotations

from graphlib import CycleError
from pathlib import Path

import pytest

from include.models import Model, read_models


def write(folder: Path, **models: str) -> list[Model]:
    for name, text in models.items():
        (folder / f"{name}.sql").write_text(text)
    return read_models(folder, folder)


def test_a_model_comes_after_those_it_refers_to_and_names_their_tables(tmp_path: Path) -> None:
    models = write(
        tmp_path,
        mart_a="select * from {{ ref('stg_b') }} join {{ ref( 'x' ) }} using (id);".replace("{{ ref( 'x' ) }}", "t"),
        stg_b="select * from {{ source('raw_orders') }}",
    )
    assert [model.name for model in models] == ["stg_b", "mart_a"]
    assert models[0].select == "select * from public.raw_orders"
    assert models[1].needs == ("stg_b",)
    assert "from build.stg_b join t" in models[1].build


def test_a_name_without_a_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="final_v2"):
        write(tmp_path, final_v2="select 1")


def test_a_model_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mart_a refers to stg_none"):
        write(tmp_path, mart_a="select * from {{ ref('stg_none') }}")


def test_models_that_need_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CycleError):
        write(tmp_path, mart_a="select 1 from {{ ref('mart_b') }}", mart_b="select 1 from {{ ref('mart_a') }}")


def test_no_template_is_left_in_the_models_of_this_project() -> None:
    models = read_models()
    assert models[0].name == "stg_lines"
    assert "{{" not in "".join(model.build + model.check + model.publish for model in models)
