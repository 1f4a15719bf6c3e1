"""The `retries` section of fleet.yaml: what becomes of tasks that fail, by the class of the error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from airfleet.spec.sections.section import Pattern, Section, rule
from airfleet.spec.sections.slas import Duration, seconds_of
from airfleet_provider.contract.retry_rules import FailureAction, RetryRule

_DEFAULT = RetryRule("")


class RetrySection(Section):
    """A rule for tasks that fail. The first rule that fits the task and its error decides. No Dag is edited."""

    dag: Pattern | None = Field(
        default=None, description="The regular expression that a whole Dag id must match.", examples=["sales_.*"]
    )
    tag: Pattern | None = Field(
        default=None, description="The regular expression that a whole tag of the Dag must match.", examples=["crm"]
    )
    task: Pattern | None = Field(
        default=None, description="The regular expression that a whole task id must match.", examples=["load_.*"]
    )
    operator: Pattern | None = Field(
        default=None,
        description="The regular expression that the whole name of the operator's class must match.",
        examples=["SQLExecuteQueryOperator"],
    )
    errors: Annotated[list[Pattern], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Which errors the rule is about: regular expressions of whole class names, such as `builtins.KeyError`. "
            "`default` stands for the errors which say that a service is away, as under `breakers`."
        ),
        examples=[["default"]],
        json_schema_extra={"x-default": "every error"},
    )
    action: Literal["retry", "fail"] = Field(
        default="retry",
        description="`retry`: it tries again, if its author has given it tries. `fail`: it fails at once.",
    )
    delay: Duration = Field(
        default="30s",
        description="The longest delay after the first try. The delay is random, for each task instance, from zero on.",
    )
    at_most: Duration = Field(default="30m", description="The longest delay after any try.")
    growth: Annotated[float, Field(ge=1, le=10)] = Field(
        default=_DEFAULT.growth, description="By how much the longest delay grows with each try."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> RetrySection:
        if seconds_of(self.at_most) < seconds_of(self.delay):
            raise rule("`at_most` is shorter than `delay`", "write a longer `at_most`")
        return self


def convert(name: str, written: RetrySection) -> RetryRule:
    """Return the rule of one entry."""
    return RetryRule(
        name=name,
        dag=written.dag,
        tag=written.tag,
        task=written.task,
        operator=written.operator,
        errors=tuple(written.errors or ()),
        action=FailureAction(written.action),
        delay_s=float(seconds_of(written.delay)),
        at_most_s=float(seconds_of(written.at_most)),
        growth=written.growth,
    )
