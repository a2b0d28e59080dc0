"""Transactional steps."""

from __future__ import annotations

from towpath.domain.errors.configuration import ConfigurationError, UsageError


class StepInsideTransactionError(UsageError):
    """A step, a transaction or another verb was called in a transaction's function.

    What it wrote would not commit with the transaction, and the transaction's retry would do it again.
    """

    def __init__(self, *, verb: str, transaction_name: str) -> None:
        super().__init__(
            f"{verb} was called inside transaction {transaction_name!r}, with which it would not "
            "commit. Call it from the workflow itself, before or after the transaction."
        )
        self.verb = verb
        self.transaction_name = transaction_name


class TransactionEndedError(UsageError):
    """A transaction's function committed, rolled back or closed the connection itself."""

    def __init__(self, *, transaction_name: str, how: str) -> None:
        super().__init__(
            f"the function of transaction {transaction_name!r} {how}. Towpath commits when it "
            "returns and rolls back when it raises; `with connection.transaction():` inside is a "
            "savepoint."
        )
        self.transaction_name = transaction_name
        self.how = how


class TransactionAbortedError(UsageError):
    """A statement of a transaction failed and its function returned all the same; it was rolled back."""

    def __init__(self, *, transaction_name: str) -> None:
        super().__init__(
            f"a statement of transaction {transaction_name!r} failed and its function went on, but "
            "Postgres commits nothing after that. Let the error out, or put the statement that may "
            "fail under `with connection.transaction():`."
        )
        self.transaction_name = transaction_name


class TransactionDatabaseError(ConfigurationError):
    """A transaction's database_url leads to another database than that of its workflows."""

    def __init__(self, *, found: str, expected: str, schema: str) -> None:
        super().__init__(
            f"the database_url of a transaction leads to database {found!r}, but schema {schema!r} of "
            f"its workflows is in database {expected!r}, or on another server: no transaction holds "
            "both. Give another login to the same database, or use a step."
        )
        self.found = found
        self.expected = expected
        self.schema = schema
