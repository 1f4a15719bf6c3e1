# Every target installs what it needs into .venv, from the locks in constraints/. `make help` lists them.
PROJECT ?= examples/flights
BIN = .venv/bin
# Where tools/rabbitmq and tools/prometheus put what they have no right to install.
export PATH := $(CURDIR)/.tools/rabbitmq/bin:$(CURDIR)/.tools/prometheus/bin:$(PATH)
SCRIPTS = .ci/run $(filter-out %.py %/__pycache__,$(wildcard tools/*)) \
	$(shell find bench examples provider/src src tests -name '*.sh')

.DEFAULT_GOAL = help
.PHONY: help up demo orders-demo fleet-demo down dev test test-services test-hosts test-opensearch check docs drill drill-local bench bench-up \
	bench-releases bench-commands bench-stock bench-fleet bench-data bench-archive-starts bench-tls bench-slas bench-scale bench-slots bench-limits bench-load bench-hosts bench-many-hosts bench-images bench-cgroups bench-neighbours bench-scale-all bench-alerting bench-notify bench-logs soak sdk-tests lock console build release-check clean run-env dev-env

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: run-env  ## Start a platform for PROJECT (examples/flights) and stay with it
	$(BIN)/airfleet up $(PROJECT)

orders-demo: run-env  ## Start a platform for examples/orders, take its API away and mend it, print what came out
	$(BIN)/python examples/orders/demo.py $(ARGS)

demo: run-env  ## Start a platform, run a year of flights through it, print what came out
	$(BIN)/python examples/flights/demo.py $(ARGS)

fleet-demo: dev-env  ## Make nine machines here, apply the reference fleet, run the flights on it
	$(BIN)/python examples/fleet/fleet_demo.py $(ARGS)

down: run-env  ## Stop the platform of PROJECT
	$(BIN)/airfleet down $(PROJECT)

dev: dev-env  ## Make .venv with all that the checks and tests need

test: dev-env  ## Run all checks and tests
	tools/chromium
	tools/console
	tools/haproxy
	tools/pgbouncer
	@tools/prometheus || echo "make test: so the tests with Prometheus are skipped" >&2
	@tools/rabbitmq || echo "make test: so the tests with Celery are skipped" >&2
	@tools/vcsim || echo "make test: so the tests of the driver vsphere are skipped" >&2
	@tools/libvirt || echo "make test: so the tests of the driver libvirt are skipped" >&2
	@tools/openstack || echo "make test: so the tests of the driver openstack are skipped" >&2
	@tools/slapd || echo "make test: so the tests with a directory are skipped" >&2
	@tools/samba || echo "make test: so the tests with a domain controller are skipped" >&2
	@tools/etcd || echo "make test: so the tests with etcd are skipped" >&2
	@tools/wireguard || echo "make test: so the tests of the tunnel of administrators are skipped" >&2
	@tools/oidc || echo "make test: so the tests with an OpenID provider are skipped" >&2
	tools/machines
	$(MAKE) --no-print-directory check docs ARGS=
	$(MAKE) --no-print-directory --jobs=2 test-here test-machines

# Side by side: a fleet of machines waits while systemd and apt work, and leaves the cores to the others.
.PHONY: test-here test-local test-machines
test-here: dev-env  ## Run all tests of `make test` that need no other machine
	$(MAKE) --no-print-directory test-services test-orders ARGS=
	$(MAKE) --no-print-directory test-local

# They wait more than they compute, so three processes keep two cores busy.
test-local: dev-env  ## Run the tests that start a platform on this machine, and those of examples/flights
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder examples/flights/tests tests/local $(ARGS)

test-machines: dev-env  ## Run the tests on machines made here, without those that take minutes
	$(BIN)/pytest tests/hosts $(ARGS)

# In a process of its own: its packages have the names of those of examples/flights.
.PHONY: test-orders
test-orders: dev-env  ## Run the tests of examples/orders
	cd examples/orders && $(CURDIR)/$(BIN)/pytest $(ARGS)

# They wait more than they compute, so three processes keep two cores busy.
test-services: dev-env  ## Run the tests that start one real program: PostgreSQL, PgBouncer, HAProxy, promtool, sshd
	$(BIN)/pytest --numprocesses 3 --dist loadfile tests/services $(ARGS)

.PHONY: test-migrate
test-migrate: dev-env  ## Move Dags from a real Airflow 2.11, installed beside, to Airflow 3, and back; takes minutes
	tools/airflow-2
	$(BIN)/pytest tests/migrate $(ARGS)

# Side by side, the longest first: four at a time, because some wait for the disk or for a child. The unit tests run in
# five processes, each with folders of its own: so no file is imported twice, and no results travel. To import Airflow
# takes nine seconds of CPU, so only one of them does.
CHECKS = check-airflow check-types check-control check-components check-provider check-runners check-layers check-style
.PHONY: $(CHECKS)
check: dev-env  ## Run the fast loop: format, lint, types, shell scripts, layers, unit tests; print how long it took
	@begun=$$(date +%s); $(MAKE) --no-print-directory --jobs=4 --output-sync=target $(CHECKS) || exit; \
		echo "make check: $$(($$(date +%s) - begun)) s"

check-style:
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/shellcheck $(SCRIPTS)

check-types:
	$(BIN)/mypy --no-error-summary
	cd examples/orders && $(CURDIR)/$(BIN)/mypy --no-error-summary --cache-dir $(CURDIR)/.mypy_cache/orders

check-layers:
	$(BIN)/lint-imports --no-logo

# The folders and files with a test that imports Airflow.
AIRFLOW = $(addprefix tests/unit/provider/,access api_server breakers bundles compat console execution_api executors \
	liveness log_index log_search network releases routing scheduler_wakeup task_runtime test_former_names.py)
# What ARGS chooses may be in one of the five only; pytest ends with 5 in the others.
UNIT = $(BIN)/pytest --quiet
SOME = $(ARGS) $(if $(ARGS),|| test $$? = 5)
check-control:
	$(UNIT) $(addprefix --ignore tests/unit/,cli components provider runners spec) tests/unit $(SOME)

check-components:
	$(UNIT) $(addprefix tests/unit/,cli components spec) $(SOME)

check-airflow:
	$(UNIT) $(AIRFLOW) $(SOME)

check-provider:
	$(UNIT) $(addprefix --ignore ,$(AIRFLOW)) tests/unit/provider $(SOME)

check-runners:
	$(UNIT) tests/unit/runners $(SOME)

.PHONY: check-times
check-times: dev-env  ## Run the unit tests on other days, around midnight and in other time zones
	tools/check-times $(ARGS)

docs: dev-env  ## Build the documentation as web pages that need no network: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "make docs: $(CURDIR)/site/index.html"

bench: bench-up bench-releases bench-stock  ## Run these three benchmarks beside stock Airflow

bench-fleet: dev-env  ## Time apply on nine machines made here: bench/results/fleet.json
	$(BIN)/python bench/fleet.py $(ARGS)

bench-up: dev-env  ## Time start-up beside `airflow standalone`: bench/results/up.json
	$(BIN)/python bench/up.py $(ARGS)

bench-releases: dev-env  ## Time Dag releases beside a stock Dag processor: bench/results/releases.json
	$(BIN)/python bench/releases.py $(ARGS)

bench-commands: dev-env  ## Time commands beside Airflow's own on the same database: bench/results/commands.json
	$(BIN)/python bench/commands.py $(ARGS)

bench-data: dev-env  ## Archive a million task instances, restore some, count WAL: bench/results/data.json
	PYTHONPATH=bench:tests/support $(BIN)/python bench/data.py $(ARGS)

bench-archive-starts: dev-env  ## Time task starts of a platform while its archive works, and while not: keys of bench/results/data.json
	@tools/rabbitmq
	PYTHONPATH=bench:tests/support $(BIN)/python bench/archive_starts.py $(ARGS)

bench-tls: dev-env  ## Throughput of `wide` on three machines made here, with TLS and without: keys of bench/results/data.json
	$(BIN)/python bench/tls.py $(ARGS)

bench-alerting: dev-env  ## Time alerts from a metric to the agents with real Prometheus: keys of bench/results/observe.json
	@tools/prometheus
	PYTHONPATH=bench:tests/support $(BIN)/python bench/alerting.py $(ARGS)

bench-logs: dev-env  ## Measure the index of logs: search, cost, and lines over kill -9: bench/results/logs.json
	PYTHONPATH=bench:tests/support $(BIN)/python bench/logs.py $(ARGS)

bench-notify: dev-env  ## Let every receiver of alerts be down for four minutes: keys of bench/results/observe.json
	PYTHONPATH=bench:tests/support $(BIN)/python bench/notify.py $(ARGS)

bench-observe: dev-env  ## Time the exporter of metrics on three million task instances: bench/results/observe.json
	PYTHONPATH=bench:tests/support $(BIN)/python bench/observe.py $(ARGS)
	PYTHONPATH=bench:tests/support $(BIN)/python bench/explain.py

bench-slas: dev-env  ## Measure a turn of the SLA engine on three million task instances: bench/results/slas.json
	PYTHONPATH=bench:tests/support $(BIN)/python bench/slas.py $(ARGS)

bench-scale: dev-env  ## Take a service away for ten minutes under 500 tasks: keys of bench/results/scale.json
	PYTHONPATH=bench $(BIN)/python bench/scale.py $(ARGS)

bench-slots: dev-env  ## Change the slots of workers under tasks: keys of bench/results/scale.json
	@tools/rabbitmq
	PYTHONPATH=bench:tests/support $(BIN)/python bench/slots.py $(ARGS)

bench-limits: dev-env  ## Run 500 tasks under a limit of a service: keys of bench/results/scale.json
	PYTHONPATH=bench:tests/support $(BIN)/python bench/limit_load.py $(ARGS)

bench-load: dev-env  ## Run the reference load faster and faster: bench/results/load.json
	PYTHONPATH=bench $(BIN)/python bench/load.py $(ARGS)

bench-many-hosts: dev-env  ## Measure what hundreds of light workers cost the other hosts: bench/results/many_hosts.json
	@tools/rabbitmq
	PYTHONPATH=bench:tests/support $(BIN)/python bench/many_hosts.py $(ARGS)

bench-hosts: dev-env  ## Measure what packing saves in host-hours: host_hours_ratio of bench/results/scale.json
	@tools/rabbitmq
	PYTHONPATH=bench:tests/support $(BIN)/python bench/hosts.py $(ARGS)

bench-cgroups: dev-env  ## Time the cgroup of a task: cgroup_ms of bench/results/scale.json
	PYTHONPATH=bench $(BIN)/python bench/cgroups.py

bench-neighbours: dev-env  ## Measure a task beside one that eats all it can: neighbour_ratio of bench/results/scale.json
	PYTHONPATH=bench $(BIN)/python bench/neighbours.py $(ARGS)

bench-scale-all: bench-slots bench-cgroups bench-neighbours bench-hosts bench-scale  ## All keys of bench/results/scale.json, in an hour

bench-images: dev-env  ## Time how machines made here join a fleet, with and without a prepared image: bench/results/images.json
	tools/machines
	PYTHONPATH=bench:tests/support $(BIN)/python bench/images.py $(ARGS)

bench-stock: dev-env  ## Run the same Dags on stock Airflow and on airfleet: bench/results/stock.json
	@tools/rabbitmq
	PYTHONPATH=bench $(BIN)/python -m stock $(ARGS)

test-hosts: dev-env  ## Run the tests on machines made here, those that take minutes too
	tools/machines
	$(BIN)/pytest -m "drill or not drill" tests/hosts $(ARGS)

test-opensearch: dev-env  ## Run the tests that start a real OpenSearch node from its jars; they need Java and Maven
	$(BIN)/pytest tests/opensearch $(ARGS)

.PHONY: test-rsyslog
test-rsyslog: dev-env  ## Let a real rsyslogd send lines of tasks on; it is in the package rsyslog of Debian
	RSYSLOGD=$${RSYSLOGD:-/usr/sbin/rsyslogd} $(BIN)/pytest -rs tests/services/log_routes $(ARGS)

.PHONY: test-otlp
test-otlp: dev-env  ## Send the traces of a platform to a real Jaeger, which needs Go to be built, and compare
	@tools/jaeger || echo "make test-otlp: so its tests are skipped" >&2
	$(BIN)/pytest -rs tests/otlp $(ARGS)

drill: dev-env  ## Break a fleet of machines made here on purpose, every way it knows: bench/results/drills.json
	tools/machines
	$(BIN)/python bench/drills.py $(ARGS)

.PHONY: drill-database
drill-database: dev-env  ## Lose the primary of a fleet made here again and again: failover_gap_s, lost, two_primaries in drills.json
	tools/machines
	PYTHONPATH=bench:tests/support $(BIN)/python bench/database_trials.py $(ARGS)

drill-local: dev-env  ## Break a platform on this machine on purpose, part by part: bench/results/drills-local.json
	DRILL_RESULTS=bench/results/drills-local.json $(BIN)/pytest -s tests/drills $(ARGS)

.PHONY: drill-alerts
drill-alerts: dev-env  ## Break things until each alert reaches a mail server and a webhook, and heal them: bench/results/alerts.json
	@tools/prometheus
	@tools/rabbitmq
	tools/haproxy
	tools/machines
	PYTHONPATH=bench:tests/support $(BIN)/python -m alert_drills $(ARGS)

soak: dev-env  ## Run thousands of tasks and look for what grows or is left: bench/results/soak.json
	PYTHONPATH=bench $(BIN)/python bench/soak.py $(ARGS)

sdk-tests: dev-env  ## Run Airflow's own tests of the task SDK on the task runtime: docs/reference/sdk-tests.md
	$(BIN)/python tools/sdk_tests.py

console:  ## Build the Fleet pages of console/ into the provider; needs Node
	tools/console
	cd console && npm run build

build: dev-env  ## Build both wheels and the sdist into dist/
	$(BIN)/python tools/release_check.py --build --keep dist

release-check: dev-env  ## Build, install the wheel without this folder, run a new project's Dag on it
	$(BIN)/python tools/release_check.py --keep dist $(ARGS)

lock: dev-env  ## Pin the newest allowed versions into constraints/
	tools/lock

clean:  ## Remove what was installed here; projects keep their state
	rm -rf .venv .tools site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

run-env:
	@tools/bootstrap run

dev-env:
	@tools/bootstrap dev
