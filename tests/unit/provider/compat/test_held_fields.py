"""A supervisor stores the rendered fields of a short task with its end, and those of any other task before long."""

from __future__ import annotations

# ruff: noqa: ANN401 - messages are Airflow's own
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk.api.client import Client
from airflow.sdk.execution_time.comms import RetryTask, SetRenderedFields, SetXCom, SucceedTask, TaskState
from tenacity import stop_after_attempt

from airfleet_provider.compat.patches import held_fields
from airfleet_provider.compat.patches.held_fields import AGAIN_S, HOLD_S, PAUSE_S, HoldsFields

FIELDS = {"command": "echo é", "env": None}
END = datetime(2026, 1, 1, tzinfo=UTC)
SUCCESS = SucceedTask(end_date=END, task_outlets=[], outlet_events=[])
ASSET = SucceedTask(end_date=END, task_outlets=[{"name": "a", "type": "Asset"}], outlet_events=[])


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HoldsFields, "paused_until", 0.0)


class Stock:
    """What Airflow's supervisor does with the messages of a task, as far as calls of the API go."""

    id, process_log = "ID", SimpleNamespace()

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answered: list[int] = []
        self.waited: list[float] = []
        self._terminal_state: str | None = None
        self._rendered_map_index: str | None = "label"

    def _handle_request(self, msg: Any, _: Any, req_id: int) -> None:
        if isinstance(msg, SetRenderedFields):
            self.client.task_instances.set_rtif(self.id, msg.rendered_fields)
        elif isinstance(msg, SucceedTask | RetryTask):
            self._send_terminal_state_msg(msg)
        self.send_msg(None, request_id=req_id, error=None)

    def send_msg(self, _: Any, *, request_id: int, error: Any) -> None:
        self.answered.append(request_id)

    def _send_terminal_state_msg(self, msg: Any) -> None:
        self.client.patch(f"task-instances/{self.id}/state", json={"state": str(msg.state)})
        self._terminal_state = msg.state

    def _service_subprocess(self, max_wait_time: float, **_: Any) -> None:
        self.waited.append(max_wait_time)

    def update_task_state_if_needed(self) -> None:
        if not self._terminal_state:
            self.client.patch(f"task-instances/{self.id}/state", json={"state": "failed"})


@dataclass
class World:
    """A supervisor, its API, which gives the statuses of `refuses`, and its clock."""

    refuses: dict[str, int] = field(default_factory=dict)
    called: list[tuple[str, Any]] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    now: float = 100.0

    def __post_init__(self) -> None:
        class Supervisor(HoldsFields, Stock):
            pass

        client = Client(base_url="http://api/execution/", token="", transport=httpx.MockTransport(self.answer))
        self.supervisor: Any = Supervisor(client)
        self.supervisor.clock = lambda: self.now
        self.supervisor.process_log = SimpleNamespace(warning=lambda text, **more: self.logged.append(more))

    def answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        self.called.append((name, json.loads(request.content)))
        return httpx.Response(self.refuses.get(name, 204))

    def send(self, *messages: Any) -> None:
        for number, message in enumerate(messages, start=1):
            self.supervisor._handle_request(message, None, number)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.called]


def test_success_soon_after_takes_one_call() -> None:
    world = World()
    world.send(SetRenderedFields(rendered_fields=FIELDS))
    assert (world.called, world.supervisor.answered) == ([], [1])
    world.send(SUCCESS)
    end = {"state": "success", "end_date": "2026-01-01T00:00:00Z", "task_outlets": [], "outlet_events": []}
    assert world.called == [("end", {"fields": FIELDS, "end": {**end, "rendered_map_index": "label"}})]
    assert world.supervisor._terminal_state == "success"
    world.supervisor.update_task_state_if_needed()
    assert len(world.called) == 1


def test_a_task_that_goes_on_shows_its_fields_before_long() -> None:
    world = World()
    world.send(
        SetRenderedFields(rendered_fields=FIELDS),
        SetXCom(**dict.fromkeys(("dag_id", "run_id", "task_id", "key"), "a"), value=1),
    )
    world.supervisor._service_subprocess(5.0)
    assert world.called == []
    assert 0 < world.supervisor.waited[0] <= HOLD_S
    world.now += HOLD_S
    world.supervisor._service_subprocess(5.0)
    assert world.called == [("rtif", FIELDS)]
    world.supervisor._service_subprocess(5.0)
    assert world.supervisor.waited[-1] == 5.0
    world.send(SUCCESS)
    assert world.names == ["rtif", "state"]


@pytest.mark.parametrize(
    "message",
    [ASSET, RetryTask(end_date=END), TaskState(state="failed", end_date=END), None],
    ids=["asset", "retry", "failure", "no word"],
)
def test_any_other_end_comes_after_the_fields(message: Any) -> None:
    world = World()
    world.send(SetRenderedFields(rendered_fields=FIELDS), *([message] if message else []))
    world.supervisor.update_task_state_if_needed()
    assert world.names == ["rtif", "state"]


@pytest.mark.parametrize("status", [404, 503])
def test_an_end_that_is_refused_takes_the_usual_calls(status: int) -> None:
    world = World({"end": status})
    world.send(SetRenderedFields(rendered_fields=FIELDS), SUCCESS)
    assert world.names == ["end", "rtif", "state"]


def test_an_api_that_does_not_know_the_call_is_left_alone_for_a_while() -> None:
    first = World({"end": 404})
    first.send(SetRenderedFields(rendered_fields=FIELDS), SUCCESS)
    second, third = World(now=first.now + PAUSE_S / 2), World(now=first.now + PAUSE_S)
    for world in (second, third):
        world.send(SetRenderedFields(rendered_fields=FIELDS), SUCCESS)
    assert (second.names, third.names) == (["rtif", "state"], ["end"])


@pytest.mark.parametrize(("status", "lines"), [(404, 1), (410, 0)])
def test_fields_that_are_refused_later_change_nothing_else(status: int, lines: int) -> None:
    world = World({"rtif": status})
    world.send(SetRenderedFields(rendered_fields=FIELDS))
    world.now += HOLD_S
    world.supervisor._service_subprocess(5.0)
    world.send(SUCCESS)
    assert world.names == ["rtif", "state"]
    assert len(world.logged) == lines


@pytest.mark.parametrize("is_back", [True, False])
def test_fields_wait_for_an_api_that_is_away(is_back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client.request.retry, "stop", stop_after_attempt(1))
    world = World({"rtif": 503, "end": 503})
    world.send(SetRenderedFields(rendered_fields=FIELDS))
    for wait in (HOLD_S, AGAIN_S):
        world.now += wait
        world.supervisor._service_subprocess(5.0)
        world.supervisor._service_subprocess(5.0)
    assert (world.names, world.logged) == (["rtif"] * 2, [])
    if is_back:
        world.refuses.clear()
    world.supervisor.update_task_state_if_needed()
    assert world.names == ["rtif", "rtif", "rtif", "state"]
    assert len(world.logged) == (0 if is_back else 1)


def test_fields_that_airflow_refuses_are_refused_at_once() -> None:
    world = World()
    with pytest.raises(ValueError, match="JSON"):
        world.send(SetRenderedFields.model_construct(rendered_fields={"a": float("nan")}))


def test_fields_after_the_end_are_stored_at_once_and_last() -> None:
    world = World()
    world.send(SetRenderedFields(rendered_fields=FIELDS), SetRenderedFields(rendered_fields={"b": 1}))
    assert world.called == [("rtif", FIELDS), ("rtif", {"b": 1})]
    world.send(SUCCESS, SetRenderedFields(rendered_fields={"c": 1}))
    assert world.names == ["rtif", "rtif", "state", "rtif"]


def test_the_installed_airflow_has_what_is_replaced() -> None:
    assert not [one for one in (*held_fields.REQUIRES, *held_fields.ASSUMES) if one.find_obstacle()]
