"""Whether the caller is in a transaction's function, where verbs are refused, by a context variable."""

from __future__ import annotations

import contextvars

from towpath.domain.errors import StepInsideTransactionError

_transaction: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "towpath_transaction", default=None
)


class in_transaction:  # noqa: N801 - used as a with statement's verb
    """The block is a transaction's function."""

    __slots__ = ("_name", "_token")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._token = _transaction.set(self._name)

    def __exit__(self, *_: object) -> None:
        _transaction.reset(self._token)


def refuse_in_transaction(verb: str) -> None:
    """Raise where a verb would not commit with the transaction that calls it.

    Raises:
        StepInsideTransactionError: naming both.
    """
    name = _transaction.get()
    if name is not None:
        raise StepInsideTransactionError(verb=verb, transaction_name=name)
