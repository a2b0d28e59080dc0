"""Runs the demonstration: `python -m examples.demo [kubernetes]`.

The exit code is 0 where everything was proved, 1 where something was not, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys

from examples.demo import page
from examples.demo.errors import DemoError

INTERRUPTED = 130


def main() -> int:
    """Tell the story that was asked for, and say whether it proved what it claims."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("where", nargs="?", choices=("local", "kubernetes"), default="local")
    where = parser.parse_args().where
    # SIGTERM and a closed terminal end it in order too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        proofs = _tell(where)
    except KeyboardInterrupt:
        page.say()
        page.say("Stopped. Nothing is left running.")
        return INTERRUPTED
    except DemoError as error:
        page.say()
        page.say(f"FAILED: {error}")
        return 1
    return 0 if all(proof.holds for proof in proofs) else 1


def _tell(where: str) -> list[page.Proof]:
    # Each imports what the other has no use for.
    if where == "kubernetes":
        from examples.demo import kubernetes  # noqa: PLC0415

        return kubernetes.tell()
    from examples.demo import local  # noqa: PLC0415

    return local.tell()


if __name__ == "__main__":
    sys.exit(main())
