"""What every test may use: the real Postgres, an App on it, the real cluster."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.logins",
    "tests.fixtures.apps",
    "tests.cluster.fixtures",
]

# How long an example takes says how busy the machine is.
settings.register_profile("towpath", deadline=None)
settings.load_profile("towpath")
