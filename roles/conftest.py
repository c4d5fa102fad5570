"""Stops a bare `pytest roles/...`: without hosts testinfra would check this machine."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let the checks run under `sdfleet verify` only."""
    if not config.pluginmanager.hasplugin("deploy.verification.plugin"):
        raise pytest.UsageError("a role's verify.py checks hosts of a fleet; run `sdfleet verify`")
