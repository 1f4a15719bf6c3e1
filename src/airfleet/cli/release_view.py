"""Releases and deployments as text for a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from airfleet_provider.contract.release_list import Deployment, Release
from airfleet_provider.contract.release_schema import DeploymentState


def explain(deployment: Deployment) -> str:
    """Return why a deployment failed or was rolled back: the watch's verdict, or the last line of each file's error."""
    if deployment.verdict:
        return deployment.verdict
    lines = [str(deployment.detail.get("message", "it failed"))]
    for error in deployment.detail.get("errors", ()):
        last = [line for line in error["error"].splitlines() if line.strip()][-1:]
        lines.append(f"  {error['path']}: {''.join(last).strip()}")
    return "\n".join(lines)


def describe(release: Release) -> dict[str, Any]:
    """Return a release as JSON. The number of files replaces the manifest."""
    described = asdict(release)
    return {**described, "manifest": None, "built_at": format_moment(release.built_at)} | {
        "files": len(release.manifest["files"]),
        "commit": release.manifest.get("commit"),
    }


def describe_state(release: Release) -> str:
    """Return the release's state in one or two words: live, pinned, removed or rolled back."""
    if release.collected:
        return "removed"
    if release.live:
        return "live, watched" if release.state == DeploymentState.WATCHING else "live"
    marks = ("went back" if release.state == DeploymentState.FAILED else "", "pinned" if release.pinned else "")
    return ", ".join(filter(None, marks))


def format_moment(moment: datetime) -> str:
    """Format a time in this machine's time zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
