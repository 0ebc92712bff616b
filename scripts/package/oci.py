#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes an OCI archive (image-spec 1.0) of one layer, from a tar of a root file system.

usage: oci.py ROOT.tar IMAGE.tar --version V --architecture A --epoch SECONDS

The same input gives the same image, byte by byte.
"""

import argparse
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

DESCRIPTION = "PCIe card in QEMU whose logic is RTL in an HDL simulator"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Archive:
    """A tar with files of one time and no owner."""

    def __init__(self, tar, epoch):
        self.tar = tar
        self.epoch = epoch

    def add(self, name, content, size):
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self.epoch, 0o644
        self.tar.addfile(info, content)

    def text(self, name, value):
        data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        self.add(name, io.BytesIO(data), len(data))

    def blob(self, value, media_type):
        """A JSON value as a blob; its descriptor."""
        data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.add(f"blobs/sha256/{digest}", io.BytesIO(data), len(data))
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    options = parser.parse_args()
    created = datetime.fromtimestamp(options.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    with tempfile.NamedTemporaryFile(dir=options.image.parent) as layer, \
            tarfile.open(options.image, "w", format=tarfile.PAX_FORMAT) as tar:
        with open(options.root, "rb") as root, gzip.GzipFile(
                filename="", fileobj=layer, mode="wb", compresslevel=6, mtime=0) as zipped:
            shutil.copyfileobj(root, zipped, 1 << 20)
        layer.flush()
        digest, size = digest_of(layer.name), Path(layer.name).stat().st_size

        archive = Archive(tar, options.epoch)
        archive.text("oci-layout", {"imageLayoutVersion": "1.0.0"})
        layer.seek(0)
        archive.add("blobs/sha256/" + digest.removeprefix("sha256:"), layer, size)
        labels = {
            "org.opencontainers.image.title": "accelerator-cosim",
            "org.opencontainers.image.description": DESCRIPTION,
            "org.opencontainers.image.version": options.version,
        }
        config = archive.blob({
            "created": created,
            "architecture": options.architecture,
            "os": "linux",
            "config": {
                "User": "cosim",
                "WorkingDir": "/home/cosim",
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/cosim", "LANG=C.UTF-8"],
                "Cmd": ["accelerator-demo"],
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest_of(options.root)]},
            "history": [{"created": created, "created_by": "scripts/package.sh oci"}],
        }, CONFIG)
        manifest = archive.blob({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [{"mediaType": LAYER, "digest": digest, "size": size}],
            "annotations": labels,
        }, MANIFEST)
        manifest["annotations"] = {"org.opencontainers.image.ref.name": options.version}
        archive.text("index.json", {"schemaVersion": 2, "manifests": [manifest]})


if __name__ == "__main__":
    main()
