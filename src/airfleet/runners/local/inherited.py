"""The environment of a platform's processes on this machine. A command that starts none imports nothing else of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from airfleet_provider.contract import environment as variables

# The variables that processes inherit: paths of programs and certificates, proxies, and how text and times are shown.
INHERITED = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "TZDIR", "USER"),
        *("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM"),
        *("LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
        *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
        *("ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
        *("all_proxy", "ftp_proxy", "https_proxy", "http_proxy", "no_proxy"),
        *("COVERAGE_PROCESS_START", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS"),
    }
)


def choose_inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the caller's environment that processes and tasks inherit. None of them is a secret.

    fleet.yaml names all others under `env`; `{env: NAME}` there reads a variable of the caller.
    """
    return {key: value for key, value in environ.items() if key in INHERITED or key.startswith("LC_")}


def build_environment(
    inherited: Mapping[str, str], own: Mapping[str, str], project: Path, state: Path, *, importable: bool = True
) -> dict[str, str]:
    """Return the environment of every process: `inherited` without Airflow's variables, and the project's `own`.

    The project folder is on the Python path if its Dags are used from there, and not if they come from releases.
    AIRFLOW__ variables of the caller's shell are removed, because they would override airflow.cfg.
    """
    environment = {key: value for key, value in inherited.items() if not key.startswith(("AIRFLOW_", "AIRFLEET_"))}
    search = [*([str(project)] if importable else []), *filter(None, [inherited.get("PYTHONPATH", "")])]
    return {
        **environment,
        **own,
        "AIRFLOW_HOME": str(state / "airflow"),
        "AIRFLEET_PROJECT": str(project),
        variables.STATE: str(state),
        "PYTHONPATH": os.pathsep.join(search),
        "PYTHONUNBUFFERED": "1",
    }
