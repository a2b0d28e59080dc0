"""What every test may use: the real Postgres, an App on it, the real cluster."""

from __future__ import annotations

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.logins",
    "tests.fixtures.apps",
    "tests.cluster.fixtures",
]
