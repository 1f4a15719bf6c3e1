"""What is read of RabbitMQ for an explanation: alarms and readers, from metrics and from a log."""

from __future__ import annotations

import pytest

from airfleet.operations import broker

METRICS = """\
rabbitmq_alarms_file_descriptor_limit 0
rabbitmq_alarms_free_disk_space_watermark {disk}
rabbitmq_alarms_memory_used_watermark 0
rabbitmq_detailed_queue_consumers{{vhost="airflow",queue="io"}} {readers}
"""


def test_an_alarm_names_its_host_and_its_reason() -> None:
    state = broker.combine([("b1", METRICS.format(disk=1, readers=0)), ("b2", METRICS.format(disk=0, readers=3))])
    assert state.answers
    assert state.alarms == ("b1: its disk is nearly full",)
    assert state.consumers == {"io": 3}


def test_a_node_that_does_not_answer_is_no_alarm() -> None:
    state = broker.combine([("b1", None), ("b2", METRICS.format(disk=0, readers=2))])
    assert (state.answers, state.alarms) == (True, ())


def test_without_any_answer_the_broker_does_not_answer() -> None:
    state = broker.combine([("b1", None), ("b2", None)])
    assert not state.answers
    assert "b1, b2" in state.why


@pytest.mark.parametrize(
    ("log", "alarms"),
    [
        ("disk resource limit alarm set on node a@localhost.", ("its disk is nearly full",)),
        ("disk resource limit alarm set on node a.\n...\ndisk resource limit alarm cleared on node a", ()),
        (
            "memory resource limit alarm cleared on node a\nmemory resource limit alarm set on node a",
            ("its memory is used up",),
        ),
        ("", ()),
    ],
)
def test_an_alarm_lasts_until_the_log_says_it_was_cleared(log: str, alarms: tuple[str, ...]) -> None:
    assert broker.find_alarms(log) == alarms
