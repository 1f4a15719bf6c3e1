"""Serve one service of a real OpenStack on 127.0.0.1, until stdin ends: `openstack_node.py identity|image|compute`.

It runs in the Python of tools/openstack, in a folder with the state that this made. It prints its port first.

- identity is Keystone, and image is Glance, as they are.
- compute is Nova: its API with its rules, conductor, scheduler, placement and two compute hosts, whose hypervisor is
  Nova's own `fake`. Its networks are those of Nova's functional tests, which are also this program's service of
  networks: `GET /v2.0/networks`, as documented, is ours.
"""

# What a service imports depends on its settings, and has no types.
# ruff: noqa: PLC0415, ANN401

from __future__ import annotations

import json
import os
import sys
import threading
import unittest
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Machines are made from an image that both Nova's functional tests and Glance have.
IMAGE_ID = "155d900f-4e14-4e4c-a73d-069cbf4541e6"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing: stderr is for what went wrong."""


def _serve(application: Application) -> None:
    server = make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.__stdout__.write(f"{server.server_port}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
    sys.__stdin__.read()  # type: ignore[union-attr]
    os._exit(0)


def _serve_identity(state: Path) -> None:
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = str(state)
    from keystone.server.wsgi import initialize_public_application

    _serve(initialize_public_application())


def _serve_image(state: Path) -> None:
    os.environ["OS_GLANCE_CONFIG_DIR"] = str(state)
    from glance.common.wsgi_app import init_app

    _serve(init_app())


def _serve_compute(paste: Path) -> None:
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
    import_module("nova.tests.functional")  # first: it decides how the rest waits
    from nova.api import wsgi
    from nova.tests.fixtures import neutron, policy
    from nova.tests.functional import integrated_helpers

    class Networks(neutron.NeutronFixture):  # type: ignore[misc]
        """Every port has an address and a project of its own, as at a real service."""

        def create_port(self, body: Any = None) -> Any:
            made = super().create_port(body)["port"]
            port = self._ports[made["id"]]
            port["tenant_id"] = port["project_id"] = body["port"]["tenant_id"]
            port["fixed_ips"] = [{**port["fixed_ips"][0], "ip_address": f"192.168.1.{len(self._ports) + 9}"}]
            return {"port": dict(port)}

    class Compute(integrated_helpers._IntegratedTestBase):  # type: ignore[misc]
        CAST_AS_CALL = False
        STUB_KEYSTONE = False

        def _setup_services(self) -> None:
            self.flags(api_paste_config=str(paste), group="wsgi")
            self.flags(compute_driver="fake.FakeDriver")
            # What a project's reader, member and manager may do, as Nova's own settings have it.
            self.flags(enforce_new_defaults=True, group="oslo_policy")
            self.useFixture(policy.RealPolicyFixture())
            self.neutron = self.useFixture(Networks(self))
            self._start_compute("second")
            super()._setup_services()

        def test_serve(self) -> None:
            warnings.simplefilter("ignore")  # the tests of Nova make errors of them
            compute: Application = wsgi.Loader().load_app("osapi_compute")

            def application(request: dict[str, Any], answer: Callable[..., Any]) -> Iterable[bytes]:
                if not request["PATH_INFO"].startswith("/v2.0/networks"):
                    return compute(request, answer)
                return _answer_networks(self.neutron, request, answer)

            _serve(application)

    unittest.TextTestRunner().run(Compute("test_serve"))


def _answer_networks(networks: Any, request: dict[str, Any], answer: Callable[..., Any]) -> Iterable[bytes]:
    there = [networks.network_1]
    if named := request["PATH_INFO"].removeprefix("/v2.0/networks").strip("/"):
        found = [one for one in there if one["id"] == named]
        body: dict[str, Any] = {"network": found[0]} if found else {"NeutronError": {"message": "not found"}}
        status = "200 OK" if found else "404 Not Found"
    else:
        wanted = parse_qs(request["QUERY_STRING"]).get("name", [])
        body = {"networks": [one for one in there if not wanted or one["name"] in wanted]}
        status = "200 OK"
    answer(status, [("Content-Type", "application/json")])
    return [json.dumps(body, default=str).encode()]


if __name__ == "__main__":
    service, path = sys.argv[1:]
    del sys.argv[1:]  # the services read the command line too
    {"identity": _serve_identity, "image": _serve_image, "compute": _serve_compute}[service](Path(path))
