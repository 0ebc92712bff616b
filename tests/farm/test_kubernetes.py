# SPDX-License-Identifier: MIT OR Apache-2.0
"""What docs/farms.md says for Kubernetes: its fields are those of the API, and its command does
what it says when it is run as Kubernetes would. There is no cluster here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from accelerator_cosim.farm import unpack

ROOT = Path(__file__).resolve().parents[2]
#: The release in which all that is used there is stable.
RELEASE = "1.33"


@pytest.fixture
def job() -> dict[str, Any]:
    text = (ROOT / "docs/farms.md").read_text()
    [block] = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    loaded: dict[str, Any] = yaml.safe_load(block)
    return loaded


def test_fields(job: dict[str, Any]) -> None:
    kubernetes_validate.validate(job, RELEASE, strict=True)
    # It would find a slip.
    job["spec"]["completionmode"] = job["spec"].pop("completionMode")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, RELEASE, strict=True)


def test_command(job: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    unpack(bundle, tmp_path / "bundle")
    results = tmp_path / "results"
    results.mkdir()
    (tmp_path / "go").touch()
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    [container] = spec["template"]["spec"]["containers"]
    folders = {"/bundle": tmp_path / "bundle", "/results": results}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {*folders, "/tmp"}

    def here(word: str) -> str:
        for name, folder in folders.items():
            if word == name or word.startswith(f"{name}/"):
                return f"{folder}{word.removeprefix(name)}"
        return word

    command = [here(word) for word in container["command"]]
    assert command[0] == "python3"
    pods = [subprocess.Popen([sys.executable, *command[1:]], env={
        **os.environ, "JOB_COMPLETION_INDEX": str(index), "NODE_NAME": f"node{index}",
        "FARM_GO": str(tmp_path / "go")}) for index in range(spec["completions"])]
    for pod in pods:
        pod.wait(120)
    result = subprocess.run(
        [sys.executable, "-m", "accelerator_cosim", "report", "--jobs", str(spec["completions"]),
         "--bundle", tmp_path / "bundle", results], capture_output=True, text=True, check=False,
        timeout=60)
    assert re.search(r"^15 passed, 1 failed in", result.stdout, re.M)
    assert "lost" not in result.stdout
