"""What every test may use: the real Postgres, the real cluster."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.postgres"]
