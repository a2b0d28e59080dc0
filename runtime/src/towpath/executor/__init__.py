"""Claiming and running: the worker's loop, workflows and steps, slots, shutdown.

It knows the store and the codec; the public names over it are in `towpath.api`.
"""
