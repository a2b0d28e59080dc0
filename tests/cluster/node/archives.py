"""Leaves out of an image's archive the layers that the node has already.

An image of ours is two hundred times its own code: the base and the dependencies are most of it,
and two images share them. buildah writes all layers; containerd asks only that they be there.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
Descriptor = dict[str, object]


def write_without(known: Collection[str], source: Path, target: Path, tag: str) -> None:
    """Turn a docker archive into an OCI archive that lacks the layers whose digests are known."""
    with tarfile.open(source) as saved, tarfile.open(target, "w") as written:
        listed = json.loads(_read(saved, "manifest.json"))[0]
        config = _read(saved, listed["Config"])
        layers: list[Descriptor] = []
        digests: list[str] = json.loads(config)["rootfs"]["diff_ids"]
        for digest, name in zip(digests, listed["Layers"], strict=True):
            entry = tarfile.TarInfo(_path(digest))
            entry.size = saved.getmember(name).size
            layers.append({"mediaType": LAYER, "digest": digest, "size": entry.size})
            if digest not in known:
                written.addfile(entry, saved.extractfile(name))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _add_blob(written, CONFIG, config),
            "layers": layers,
        }
        root = _add_blob(written, MANIFEST, json.dumps(manifest).encode())
        root["annotations"] = {"io.containerd.image.name": tag}
        _add(written, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        index = {"schemaVersion": 2, "manifests": [root]}
        _add(written, "index.json", json.dumps(index).encode())


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    content = archive.extractfile(name)
    if content is None:
        raise ValueError(f"{name} in the image's archive is no file")
    return content.read()


def _add_blob(archive: tarfile.TarFile, media_type: str, content: bytes) -> Descriptor:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    _add(archive, _path(digest), content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
