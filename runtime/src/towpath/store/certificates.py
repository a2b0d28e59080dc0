"""Where the system's certificates are: psycopg's wheels look for them where no system has them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import psycopg

PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
_SYSTEM = re.compile(r"[?&]sslrootcert=system(&|$)")


def system_certificates(uri: str) -> dict[str, Any]:
    """Return what `connect` takes beside a URI that trusts the system's certificates, else nothing.

    The OpenSSL in psycopg's wheels has a default folder of its own, which exists nowhere, so that
    `sslrootcert=system` would trust nobody. It does heed SSL_CERT_FILE and SSL_CERT_DIR.
    """
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    if named or psycopg.pq.__impl__ != "binary" or not _SYSTEM.search(uri):
        return {}
    found = next((place for place in PLACES if Path(place).is_file()), None)
    # "system" means verify-full to libpq, and a file does not.
    return {} if found is None else {"sslrootcert": found, "sslmode": "verify-full"}
