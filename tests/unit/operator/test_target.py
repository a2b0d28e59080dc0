"""Where the operator and the workers connect: what a QueueDatabase and its Secrets make together."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import URI, database
from towpath_operator.model.uri_parts import DatabaseUri
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.plan.target import make_target, secret_names, unreadable
from towpath_operator.ports.cluster import ObjectKey

DIRECT = "postgresql://operator:0perat0r@db.example/shop"
WORKER = {"username": b"worker", "password": b"w0rker"}
CA_MOUNTED = "/var/run/towpath/database/ca.crt"


def keys(**values: bytes) -> dict[str, Any]:
    """Return a live Secret with these keys; an underscore stands for a dot."""
    encoded = {k.replace("_", "."): base64.b64encode(v).decode() for k, v in values.items()}
    return {"kind": "Secret", "data": encoded}


def fields(**other: Any) -> dict[str, Any]:
    """Return a spec that connects by fields."""
    connection = {
        "host": "db.example",
        "database": "shop",
        "credentialsSecretRef": {"name": "login"},
        **other,
    }
    return {"uriSecretRef": None, "connection": connection}


def target(spec: Mapping[str, Any] | None = None, **secrets: Any) -> DatabaseTarget:
    """Return the target, which there must be; `db` holds the usual URI."""
    made = make_target(database(spec=spec), {"db": keys(uri=URI.encode()), **secrets})
    assert isinstance(made, DatabaseTarget), made
    return made


def blocked(spec: Mapping[str, Any] | None = None, **secrets: Any) -> Blocked:
    """Return what stands in the way."""
    made = make_target(database(spec=spec), {"db": keys(uri=URI.encode()), **secrets})
    assert isinstance(made, Blocked)
    return made


def parsed(uri: str) -> dict[str, Any]:
    """Return what libpq reads in a URI."""
    return psycopg.conninfo.conninfo_to_dict(uri)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a certificate that openssl made, and its private key behind it."""
    folder = tmp_path_factory.mktemp("ca")
    openssl(folder, "req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout key -out crt -days 2")
    return (folder / "crt").read_bytes()


def openssl(folder: Path, words: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


# One URI.


def test_the_secret_gives_the_uri_without_the_newline_that_files_end_with() -> None:
    made = target(db=keys(uri=f"{URI}\n".encode()))
    assert made == DatabaseTarget(key=ObjectKey("towpath", "default"), schema="towpath", uri=URI)
    assert made.pods_uri == URI


def test_workers_that_share_the_operators_login_have_no_role_to_grant_to() -> None:
    assert target().worker_role is None
    same = keys(username=b"app", password=b"another")
    assert target({"workerCredentialsSecretRef": {"name": "w"}}, w=same).worker_role is None


def test_the_workers_login_takes_the_place_of_the_operators_in_the_same_uri() -> None:
    uri = b"postgresql://h,h2:6000/shop?user=app&password=hunter2&sslmode=require"
    made = target({"workerCredentialsSecretRef": {"name": "w"}}, db=keys(uri=uri), w=keys(**WORKER))
    expected = parsed(uri.decode()) | {"user": "worker", "password": "w0rker"}
    assert parsed(made.pods_uri) == expected
    assert made.worker_role == "worker"
    assert parsed(made.uri)["user"] == "app"


def test_the_operator_connects_by_its_own_uri_where_there_is_one() -> None:
    made = target({"operatorUriSecretRef": {"name": "o"}}, o=keys(uri=DIRECT.encode()))
    assert (made.uri, made.pods_uri, made.worker_role) == (DIRECT, URI, "app")
    assert not made.pooled


def test_behind_a_pooler_the_operator_needs_a_uri_to_the_server_itself() -> None:
    problem = blocked({"pooler": "Transaction"})
    assert problem.reason == "PoolerWithoutDirect"
    assert "operatorUriSecretRef" in problem.message
    spec = {"pooler": "Transaction", "operatorUriSecretRef": {"name": "o"}}
    assert target(spec, o=keys(uri=DIRECT.encode())).pooled


def test_the_most_connections_of_a_pod_are_as_declared() -> None:
    assert target({"connections": {"perPod": 8}}).connections_per_pod == 8
    assert target({"connections": {"max": 80}}).connections_per_pod is None
    assert target().connections_per_pod is None


# Fields.


def test_fields_make_a_uri() -> None:
    made = target(fields(port=6000, sslMode="require"), login=keys(username=b"app", password=b"p"))
    assert made.uri == "postgresql://app:p@db.example:6000/shop?sslmode=require"


def test_an_ipv6_host_stands_in_brackets() -> None:
    made = target(fields(host="fd00::1"), login=keys(username=b"app", password=b"p"))
    assert parsed(made.uri)["host"] == "fd00::1"


@given(
    login=st.tuples(st.text(min_size=1), st.text(min_size=1)).filter(
        lambda pair: all("\0" not in one and one.strip() for one in pair)
    ),
    name=st.text(min_size=1, max_size=63).filter(lambda text: "\0" not in text),
)
def test_any_text_in_a_login_or_a_databases_name_reaches_postgres_as_it_is(
    login: tuple[str, str], name: str
) -> None:
    user, password = (one.encode() for one in login)
    spec = fields(database=name)
    made = make_target(database(spec=spec), {"login": keys(username=user, password=password)})
    assert isinstance(made, DatabaseTarget)
    read = parsed(made.uri)
    assert read["user"] == login[0].rstrip("\r\n").strip()
    assert read["password"] == login[1].rstrip("\r\n")
    assert read["dbname"] == name


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_a_uri_that_was_taken_apart_and_written_again_says_the_same(password: str) -> None:
    written = str(DatabaseUri(servers="h:1", database="d").with_login("u", password))
    assert DatabaseUri.parse(written).password == password
    assert parsed(str(DatabaseUri.parse(written))) == parsed(written)


def test_a_target_never_shows_a_secret() -> None:
    spec = {
        "workerCredentialsSecretRef": {"name": "w"},
        "operatorUriSecretRef": {"name": "o"},
    }
    made = target(spec, w=keys(**WORKER), o=keys(uri=DIRECT.encode()))
    assert "w0rker" in made.pods_uri
    for secret in ("hunter2", "w0rker", "0perat0r"):
        assert secret not in repr(made)
        assert secret not in repr(DatabaseUri.parse(made.pods_uri))


# Certificates.


def test_the_pods_find_the_certificates_beside_the_uri(ca: bytes) -> None:
    spec = fields(sslMode="verify-ca", caSecretRef={"name": "ca"})
    made = target(spec, login=keys(username=b"app", password=b"p"), ca=keys(ca_crt=ca))
    assert made.ca == ca.decode()
    assert parsed(made.pods_uri)["sslrootcert"] == CA_MOUNTED
    assert "sslrootcert" not in parsed(made.uri)


def test_the_systems_certificates_verify_a_server_where_no_others_are_named() -> None:
    login = keys(username=b"app", password=b"p")
    by_fields = target(fields(sslMode="verify-full"), login=login)
    by_uri = target(db=keys(uri=f"{URI}?sslmode=verify-full".encode()))
    for made in (by_fields, by_uri):
        assert parsed(made.uri)["sslrootcert"] == "system"
        assert parsed(made.pods_uri)["sslrootcert"] == "system"
        assert made.ca is None


def test_the_operators_own_uri_is_verified_by_the_same_certificates(ca: bytes) -> None:
    spec = fields(sslMode="verify-full", caSecretRef={"name": "ca"})
    spec["operatorUriSecretRef"] = {"name": "o"}
    own = f"{DIRECT}?sslmode=verify-ca"
    made = target(
        spec,
        login=keys(username=b"app", password=b"p"),
        ca=keys(ca_crt=ca),
        o=keys(uri=own.encode()),
    )
    assert (made.uri, made.ca) == (own, ca.decode())


# What stands in the way.


@pytest.mark.parametrize(
    ("secret", "why", "said"),
    [
        (None, "SecretNotFound", "towpath/db"),
        ({"data": {}}, "SecretKeyMissing", "key uri"),
        ({}, "SecretKeyMissing", "key uri"),
        (keys(uri=b""), "SecretKeyMissing", "key uri"),
        (keys(uri=b"\n"), "SecretKeyMissing", "key uri"),
        ({"data": {"uri": "%%%"}}, "SecretInvalid", "no text"),
        (keys(uri=b"\xff\xfe"), "SecretInvalid", "no text"),
        (keys(uri=b"postgresql://a:hunter2@h/d\x00"), "SecretInvalid", "NUL"),
        (keys(uri=b"postgresql://a:hunter2@h/d?passfile=/x"), "SecretInvalid", "key passfile"),
        (keys(uri=b"postgresql://a:hunter2@h/d?sslkey=/x"), "SecretInvalid", "key sslkey"),
        (keys(uri=b"postgresql://a:hunter2@h/d?sslrootcert=x"), "SecretInvalid", "key sslrootcert"),
        (keys(uri=b"postgresql://a:hunter2@h/d?service=x"), "SecretInvalid", "key service"),
        (keys(uri=b"postgresql://a:hunter2@%2Ftmp/d"), "SecretInvalid", "socket path"),
        (keys(uri=b"postgresql:///d"), "SecretInvalid", "key host"),
        (keys(uri=b"postgresql://a:hunter2%@h/d"), "SecretInvalid", "key password"),
        (keys(uri=b"postgresql://a:hunter2@h/d?sslmode=verify-ca"), "SecretInvalid", "verify-full"),
        (unreadable(ObjectKey("towpath", "db")), "SecretNotFound", "verb get"),
    ],
)
def test_a_secret_that_gives_no_uri_says_why_and_never_what_it_holds(
    secret: Any, why: str, said: str
) -> None:
    problem = blocked(db=secret)
    assert (problem.reason, said in problem.message) == (why, True), problem
    assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    ("secret", "why", "said"),
    [
        (None, "SecretNotFound", "Secret towpath/login does not exist"),
        (keys(username=b"app"), "SecretKeyMissing", "key password"),
        (keys(username=b"app", password=b"\n"), "SecretKeyMissing", "key password"),
        (keys(username=b"", password=b"hunter2"), "SecretKeyMissing", "key username"),
        (keys(username=b"app", password=b"hunter2\xff"), "SecretInvalid", "key password"),
        (keys(username=b"app", password=b"hunter2\x00"), "SecretInvalid", "key password"),
    ],
)
def test_a_login_that_cannot_be_read_is_refused_by_its_key(
    secret: Any, why: str, said: str
) -> None:
    for spec in (fields(), {"workerCredentialsSecretRef": {"name": "login"}}):
        problem = blocked(spec, login=secret)
        assert (problem.reason, said in problem.message) == (why, True), problem
        assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"no certificates", "no certificates"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificates"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nhunter2\n", "private key"),
    ],
)
def test_what_are_no_certificates_is_refused(value: bytes, why: str) -> None:
    spec = fields(sslMode="verify-ca", caSecretRef={"name": "ca"})
    login = keys(username=b"app", password=b"p")
    problem = blocked(spec, login=login, ca=keys(ca_crt=value))
    assert problem.reason == "SecretInvalid"
    assert "key ca.crt" in problem.message
    assert why in problem.message
    assert "hunter2" not in problem.message


def test_every_named_secret_is_read_and_no_other() -> None:
    spec = fields(sslMode="verify-ca", caSecretRef={"name": "ca"})
    spec |= {
        "operatorUriSecretRef": {"name": "own"},
        "workerCredentialsSecretRef": {"name": "login", "usernameKey": "u", "passwordKey": "p"},
    }
    assert secret_names(database(spec=spec)) == ("own", "login", "ca")
    assert secret_names(database()) == ("db",)


def test_two_uris_of_one_database_are_one_place_whoever_logs_in() -> None:
    def place(uri: str) -> tuple[str, str, str]:
        return DatabaseUri.parse(uri).place

    assert place("postgresql://a:b@h/shop") == place("postgresql://c:d@h:5432/shop?sslmode=require")
    assert place("postgresql://a:b@h/shop") == place("postgresql://c@x/y?host=h&dbname=shop")
    assert place("postgresql://a:b@h/shop") != place("postgresql://a:b@h:5433/shop")
    assert place("postgresql://a:b@[::1]:5/shop") == ("[::1]", "5", "shop")
