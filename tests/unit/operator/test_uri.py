"""Which database URIs are accepted, and that no message holds a part of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath_operator.model.uri import ALLOWED_KEYS, UriError, check_uri


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://db.example/shop",
        "postgres://app@db.example:5432/shop",
        "postgresql://app:p%40ss%2Fword@db.example/shop?sslmode=verify-full&connect_timeout=5",
        "postgresql://one.example:5432,two.example:5433/shop?target_session_attrs=read-write",
        "postgresql://app@[2001:db8::1]:5432/shop",
        "postgresql://?host=db.example&port=5432&dbname=shop&user=app&password=x",
        "  postgresql://db.example/shop\n",
    ],
)
def test_a_uri_to_a_server_is_accepted_without_the_space_around_it(uri: str) -> None:
    assert check_uri(uri) == uri.strip()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("host=db.example dbname=shop", "postgresql://"),
        ("mysql://db.example/shop", "postgresql://"),
        ("", "postgresql://"),
        ("postgresql:///shop", "host is missing"),
        ("postgresql://app@/shop", "host is missing"),
        ("postgresql://db.example,/shop", "host is missing"),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/shop", "socket path"),
        ("postgresql://db.example/shop?host=/var/run/postgresql", "socket path"),
        ("postgresql://db.example/shop?host=@abstract", "socket path"),
        ("postgresql://db.example:0/shop", "port"),
        ("postgresql://db.example:70000/shop", "port"),
        ("postgresql://db.example/shop?options=-csearch_path%3Dx", "key options"),
        ("postgresql://db.example/shop?service=shop", "key service"),
        ("postgresql://db.example/shop?passfile=/x", "key passfile"),
        ("postgresql://db.example/shop?sslrootcert=/x", "key sslrootcert"),
        ("postgresql://db.example/shop?hostaddr=10.0.0.1", "key hostaddr"),
        ("postgresql://db.example/shop?sslmode", "sslmode has no value"),
        ("postgresql://app:100%@db.example/shop", "key password"),
        ("postgresql://app:a b@db.example/shop", "key password"),
    ],
)
def test_another_uri_is_refused_with_the_key_that_is_wrong(uri: str, said: str) -> None:
    with pytest.raises(UriError) as refusal:
        check_uri(uri)
    assert said in str(refusal.value)


@given(st.text(st.characters(codec="utf-8"), min_size=6).filter(str.strip))
def test_no_message_holds_a_password_whatever_is_in_it(password: str) -> None:
    marked = f"hunter2{password}hunter3"
    with pytest.raises(UriError) as refusal:
        check_uri(f"postgresql://app:{marked}@db.example/shop?nonsense=1")
    assert "hunter" not in str(refusal.value)


def test_the_allowed_keys_are_those_of_the_documentation() -> None:
    assert set(ALLOWED_KEYS) == {
        "host", "port", "dbname", "user", "password", "sslmode", "connect_timeout",
        "application_name", "target_session_attrs", "channel_binding",
    }  # fmt: skip
