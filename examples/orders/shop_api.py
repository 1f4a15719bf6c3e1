"""The shop: a small HTTP API with made-up orders, that fails when it is told to. It needs Python only.

    python shop_api.py serve                         on 127.0.0.1:8099, until Ctrl-C
    python shop_api.py break down                    from now on every request gets 503 and Retry-After
    python shop_api.py break slow                    … an answer after a minute
    python shop_api.py break flaky                   … every third request gets 500
    python shop_api.py break dirty                   … orders without an amount
    python shop_api.py mend                          all is well again
    python shop_api.py payouts --out payouts.csv     what the bank paid for each day

`GET /days/DAY` and `GET /orders?day=DAY&page=N` are for the pipeline. A day has the same orders at every call.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PORT = 8099
FIRST_DAY, DAYS = date(2025, 1, 6), 7
PAGE = 100
FAULTS = ("down", "slow", "flaky", "dirty")
OK = "ok"
COUNTRIES = ("DE", "FR", "NL")
CHANNELS = ("web", "app")
RETRY_AFTER_S = 5
SLOW_S = 60.0
# The bank forgot an order of this day.
SHORT_DAY = FIRST_DAY + timedelta(days=3)


@dataclass(frozen=True)
class Order:
    """One order as the shop's API gives it; `status` is what became of it."""

    id: str
    placed_at: str
    customer: str
    country: str
    channel: str
    items: int
    amount_cents: int | None
    discount_percent: int
    status: str


def make_orders(day: date) -> list[Order]:
    """Return the orders of a day: about 300 to 420, the same at every call; a few have a fault."""
    random_of_day = random.Random(day.toordinal())
    orders = [_make_order(day, number, random_of_day) for number in range(random_of_day.randrange(300, 420))]
    # The API sends an order again when its status changes, and once a day a line without a customer.
    again = orders[7]
    return [*orders, Order(**{**asdict(again), "status": "returned"}), Order(**{**asdict(orders[11]), "customer": ""})]


def list_days() -> Iterator[date]:
    """Yield the days that the shop has orders of."""
    return (FIRST_DAY + timedelta(days=number) for number in range(DAYS))


def write_payouts(path: Path) -> None:
    """Write what the bank paid for each day: the amounts of all orders that nobody sent back."""
    lines = ["day,paid_cents"]
    for day in list_days():
        kept = {order.id: order for order in make_orders(day) if order.customer}
        paid = [order.amount_cents or 0 for order in kept.values() if order.status == "delivered"]
        lines.append(f"{day},{sum(paid) - (paid[0] if day == SHORT_DAY else 0)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text("\n".join(lines) + "\n")
    draft.replace(path)  # whole or not at all: a sensor may see it at once


class Shop(ThreadingHTTPServer):
    """The server, with the fault that it shows now."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), ShopRequest)
        self.fault = OK
        self.requests = 0


class ShopRequest(BaseHTTPRequestHandler):
    """One request."""

    server: Shop
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/faults":
            return self._answer(200, {"fault": self.server.fault, "requests": self.server.requests})
        self.server.requests += 1
        fault = self.server.fault
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault == "down":
            return self._answer(503, {"error": "maintenance"}, {"Retry-After": str(RETRY_AFTER_S)})
        if fault == "flaky" and self.server.requests % 3 == 0:
            return self._answer(500, {"error": "a bad moment"})
        try:
            status, body = answer(url.path, {key: values[0] for key, values in parse_qs(url.query).items()}, fault)
        except ValueError as error:
            status, body = 400, {"error": str(error)}
        return self._answer(status, body)

    def do_PUT(self) -> None:
        wanted = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if urlsplit(self.path).path != "/faults" or wanted not in (OK, *FAULTS):
            return self._answer(400, {"error": f"PUT /faults with one of {', '.join((OK, *FAULTS))}"})
        self.server.fault = wanted
        return self._answer(200, {"fault": wanted})

    def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        sys.stderr.write(f"shop: {format % args}\n")


def answer(path: str, query: dict[str, str], fault: str = OK) -> tuple[int, dict[str, Any]]:
    """Return status and body for a request of the pipeline.

    Raises:
        ValueError: A day or a page is not written as one.
    """
    if path.startswith("/days/"):
        day = date.fromisoformat(path.removeprefix("/days/"))
        return 200, {"day": str(day), "closed": day in list_days()}
    if path != "/orders":
        return 404, {"error": f"no {path} here"}
    day, page = date.fromisoformat(query.get("day", "")), int(query.get("page", "1"))
    orders = [asdict(order) for order in make_orders(day)] if day in list_days() else []
    if fault == "dirty":
        orders = [{**order, "amount_cents": None} for order in orders]
    part = orders[(page - 1) * PAGE : page * PAGE]
    more = page + 1 if page * PAGE < len(orders) else None
    return 200, {"orders": part, "total": len(orders), "next": more}


def set_fault(port: int, fault: str) -> None:
    """Let the running server show a fault, or none (OK)."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/faults", data=fault.encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=PORT)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve")
    commands.add_parser("mend")
    commands.add_parser("break").add_argument("fault", choices=FAULTS)
    commands.add_parser("payouts").add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "payouts":
        write_payouts(arguments.out)
    elif arguments.command == "serve":
        print(f"shop: http://127.0.0.1:{arguments.port}", file=sys.stderr)
        with Shop(arguments.port) as shop:
            shop.serve_forever()
    else:
        set_fault(arguments.port, getattr(arguments, "fault", OK))


def _make_order(day: date, number: int, random_of_day: random.Random) -> Order:
    items, discount = random_of_day.randrange(1, 7), random_of_day.choice((0, 0, 0, 10, 30))
    channel = random_of_day.choice(CHANNELS)
    amount = items * random_of_day.randrange(900, 6000) * (100 - discount) // 100
    # Many items with a discount, ordered in the app, come back more often. The model has to find that out.
    score = -2.6 + 0.35 * items + 0.03 * discount + (0.5 if channel == "app" else 0.0)
    returned = random_of_day.random() < 1 / (1 + math.exp(-score))
    return Order(
        id=f"{day:%y%m%d}-{number:04}",
        placed_at=f"{day}T{random_of_day.randrange(24):02}:{random_of_day.randrange(60):02}:00Z",
        customer=f"c{random_of_day.randrange(400):04}",
        country=random_of_day.choice(COUNTRIES),
        channel=channel,
        items=items,
        amount_cents=amount,
        discount_percent=discount,
        status="returned" if returned else "delivered",
    )


if __name__ == "__main__":
    main()
