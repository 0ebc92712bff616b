# SPDX-License-Identifier: MIT OR Apache-2.0
"""The package python/ as a user gets it, and the tests with it: what scripts/test-python.sh and
scripts/test-farm.sh run.

usage: harness.py python --qemu=DIR --kills=N
       harness.py farm --qemu=DIR
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Examples with tests that the guide has at least.
EXAMPLES = 4


def install(out: Path) -> None:
    """Builds the package and installs it there, and not the sources: what is not packed is
    missed."""
    begin = time.monotonic()
    shutil.rmtree(out / "package", ignore_errors=True)
    command: list[str | Path] = [
        Path(sys.executable).parent / "pip", "--disable-pip-version-check", "install", "--no-deps",
        "--no-build-isolation", "--target", out / "package", ROOT / "python"]
    log = out / "build.log"
    with log.open("wb") as file:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file,
                                stderr=subprocess.STDOUT, check=False).returncode
    if status != 0:
        sys.exit(f"{log.read_text(errors='replace')}\nerror: the package cannot be built")
    print(f"package: {time.monotonic() - begin:.3f} s", flush=True)


def guide(folder: Path) -> None:
    """The examples of docs/driver-tests.md, each a file: tests, and scripts as one test. What they
    name is the card and the driver of the README."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in "tests", "mydriver":
        (folder / name).mkdir(parents=True)
    shutil.copytree(ROOT / "hdl/examples/regs", folder / "mycard")
    (folder / "mycard/mycard.f").write_text(f"-F {ROOT}/hdl/bridge.f\nregs.sv\nregs_top.sv\n")
    driver = re.findall(r"^```c\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    (folder / "mydriver/mydriver.c").write_text("".join(driver))
    (folder / "mydriver/Kbuild").write_text("obj-m += mydriver.o\n")
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/driver-tests.md").read_text(),
                        re.M | re.S)
    kinds = []
    for number, block in enumerate(blocks, 1):
        kinds.append("guide" if re.search("^def test_", block, re.M) else "script")
        as_test = "def test_script():\n" + re.sub("^", "    ", block, flags=re.M).rstrip(" ")
        (folder / f"tests/test_{kinds[-1]}_{number}.py").write_text(
            block if kinds[-1] == "guide" else as_test)
    if kinds.count("guide") < EXAMPLES or "script" not in kinds:
        sys.exit(f"error: docs/driver-tests.md has {kinds.count('guide')} examples with tests, "
                 "expected four or more, and a script")


def main() -> None:
    """Becomes pytest."""
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("what", choices=["python", "farm"])
    options.add_argument("--qemu", type=Path, default=Path("build/qemu/patched"))
    options.add_argument("--kills", default="2")
    given = options.parse_args()
    os.chdir(ROOT)
    program = given.qemu / "bin/qemu-system-x86_64"
    if not os.access(program, os.X_OK):
        sys.exit(f"error: {program} is not there; scripts/build-qemus.sh builds it")
    if not given.kills.isdigit() or int(given.kills) < 2:
        sys.exit(f"error: --kills is {given.kills}, expected a number from 2")
    out = ROOT / "target/test" / given.what
    out.mkdir(parents=True, exist_ok=True)
    install(out)
    if given.what == "farm":
        spread, tests = "loadfile", ["tests/farm"]
    else:
        guide(out / "docs")
        # What takes longest begins first.
        spread, tests = "worksteal", ["python/tests/test_killed.py", "python/tests",
                                      "examples/driver-tests", str(out / "docs/tests")]
    os.environ.update(PYTHONPATH=str(out / "package"), PYTHONDONTWRITEBYTECODE="1",
                      ACCELERATOR_ROOT=str(ROOT), KILLS=given.kills)
    sys.stdout.flush()
    os.execv(sys.executable, [
        sys.executable, "-m", "pytest", "-c", "python/pyproject.toml", "--rootdir", ".", "-p",
        "no:cacheprovider", "-q", "-n", "2", "--dist", spread, "--durations=10",
        f"--cosim-qemu={given.qemu.resolve()}", f"--junit-xml={out}/report.xml", *tests])


if __name__ == "__main__":
    main()
