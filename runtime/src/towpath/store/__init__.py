"""Postgres: named statements, migrations, and one module per concern. It imports domain alone.

Every function is a coroutine over a `Session` (session.py), so that one text serves a worker's loop
and a caller's thread.
"""
