"""Lends a build what this machine needs to reach a package index: never a part of an image.

A certificate bundle, pip's settings and a folder of wheels are found in the machine's own settings
and given to the build as root's home folder, where pip looks for its settings. Root's home is in
every base image, so that not even an empty mount point is left in a layer.
"""

import os
import shutil
import sys
from pathlib import Path

from tests.cluster.commands import run

INSIDE = Path("/root")
CERTIFICATE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def lent_volumes(home: Path) -> list[str]:
    """Fill the home folder of a build and return the mounts, each as SOURCE:TARGET."""
    settings = _pip_settings()
    volumes = [f"{home}:{INSIDE}"]
    configuration = home / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    bundle = settings.get("cert") or next(
        (os.environ[name] for name in CERTIFICATE_VARIABLES if os.environ.get(name)), ""
    )
    if Path(bundle).is_file():
        shutil.copyfile(bundle, home / "certificates.pem")
        settings["cert"] = str(INSIDE / "certificates.pem")
    wheels = settings.get("find-links", "")
    if wheels and Path(wheels).is_dir():
        (home / "wheels").mkdir(exist_ok=True)
        volumes.append(f"{wheels}:{INSIDE / 'wheels'}:ro")
        settings["find-links"] = str(INSIDE / "wheels")
    lines = [f"{name} = {value}" for name, value in settings.items()]
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(["[global]", *lines, ""]))
    return volumes


def _pip_settings() -> dict[str, str]:
    """Return pip's settings on this machine, those of the environment over those of files."""
    listed = run("pip", [sys.executable, "-m", "pip", "config", "list"])
    found: dict[str, dict[str, str]] = {"global": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = value.strip("'\"")
    return {**found["global"], **found[":env:"]}
