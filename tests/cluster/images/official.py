"""The images that a cluster with a registry pulls."""

PYTHON_IMAGE = "docker.io/library/python:3.12-slim"
POSTGRES_IMAGE = "docker.io/library/postgres:17"
