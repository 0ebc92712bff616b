# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is built, where it goes, and the command lines of VMs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from accelerator_cosim import BuildError, Machine, Simulation, Workspace

CHECKOUT = Path(__file__).resolve().parents[2]


class Builder:
    """Plays the scripts: it makes what they would make."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, script: str, words: Sequence[str]) -> None:
        self.calls.append((script, *words))
        out = Path(words[list(words).index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        name = words[1] if words[0] == "--top" else words[0]
        files = [name + ("-waves" if "--waves" in words else "")]
        if script == "build-guest.sh":
            files = ["vmlinuz", "initramfs.cpio.gz"]
        for file in files:
            (out / file).touch()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def builder() -> Builder:
    return Builder()


def test_find_goes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATOR_ROOT", raising=False)
    assert Workspace.find(Path(__file__)).root == CHECKOUT


def test_find_takes_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELERATOR_ROOT", str(CHECKOUT))
    assert Workspace.find(tmp_path).root == CHECKOUT
    monkeypatch.setenv("ACCELERATOR_ROOT", str(tmp_path))
    with pytest.raises(BuildError, match="is no checkout of"):
        Workspace.find(CHECKOUT)


def test_find_says_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ACCELERATOR_ROOT", raising=False)
    monkeypatch.setattr("accelerator_cosim.workspace.INSTALLED", tmp_path / "none")
    with pytest.raises(BuildError, match=r"\$ACCELERATOR_ROOT can name one"):
        Workspace.find(tmp_path)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the Debian package has it, in the place of that one."""
    root = tmp_path / "opt"
    for name in ("bin/qemu-system-x86_64", "simulations/sort", "guest/vmlinuz",
                 "guest/initramfs.cpio.gz"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    monkeypatch.setattr("accelerator_cosim.workspace.INSTALLED", root)
    monkeypatch.delenv("ACCELERATOR_ROOT", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return root


def test_package_is_found_where_there_is_no_checkout(
    package: Path, tmp_path: Path, builder: Builder
) -> None:
    found = Workspace.find(tmp_path)
    assert found.qemu() == package / "bin/qemu-system-x86_64"
    assert found.simulation(builder, "sort").command == (str(package / "simulations/sort"),)
    assert found.guest(builder).kernel == package / "guest/vmlinuz"
    # Users may not write beside it.
    assert found.runs == tmp_path / "state/accelerator-cosim/run"
    assert builder.calls == []
    # A checkout comes first.
    assert Workspace.find(CHECKOUT).root == CHECKOUT
    assert Workspace.at(package).root == package


def test_package_builds_nothing(package: Path, tmp_path: Path, builder: Builder) -> None:
    found = Workspace.find(tmp_path)
    with pytest.raises(BuildError, match=r"takes a checkout, .* it has sort, without waves"):
        found.simulation(builder, "regs")
    with pytest.raises(BuildError, match="takes a checkout"):
        found.simulation(builder, "sort", waves=True)
    with pytest.raises(BuildError, match="takes a checkout"):
        found.simulation(builder, top="my_top", files=Path("/my/card.f"))
    with pytest.raises(BuildError, match="takes a checkout"):
        found.guest(builder, modules=[Path("/my/driver")])
    assert builder.calls == []


def test_example(workspace: Workspace, builder: Builder) -> None:
    simulation = workspace.simulation(builder, "sort")
    program = workspace.root / "build/sim/sort/sort"
    assert simulation.command == (str(program),)
    assert builder.calls == [("build-sim.sh", "sort", "--out", str(program.parent))]
    # Once is enough.
    assert workspace.simulation(builder, "sort") == simulation
    assert len(builder.calls) == 1


def test_parameters_have_a_folder_for_each(workspace: Workspace, builder: Builder) -> None:
    simulations = [
        workspace.simulation(builder, "sort", parameters={"Width": 64}),
        workspace.simulation(builder, "sort", parameters={"Width": 128}),
        workspace.simulation(builder, "sort", macros={"Width": 64}),
        workspace.simulation(builder, "sort", parameters={"Width": 64}, waves=True),
    ]
    assert len({Path(simulation.command[0]).parent for simulation in simulations}) == 4
    assert builder.calls[0][:4] == ("build-sim.sh", "sort", "-G", "Width=64")
    assert builder.calls[2][:4] == ("build-sim.sh", "sort", "-D", "Width=64")
    assert [simulation.waves for simulation in simulations] == [False, False, False, True]


def test_design_of_the_user(workspace: Workspace, builder: Builder) -> None:
    simulation = workspace.simulation(builder, top="my_top", files=Path("/my/card.f"))
    assert builder.calls[0][:5] == ("build-sim.sh", "--top", "my_top", "--files", "/my/card.f")
    assert Path(simulation.command[0]).name == "my_top"


@pytest.mark.parametrize("design", [
    {}, {"example": "sort", "top": "t"}, {"top": "t"}, {"files": Path("f")},
])
def test_half_a_design(workspace: Workspace, builder: Builder, design: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needed|needs"):
        workspace.simulation(builder, **design)  # type: ignore[arg-type]


def test_nothing_is_built_where_that_was_not_asked_for(
    workspace: Workspace, builder: Builder
) -> None:
    workspace.build = False
    with pytest.raises(BuildError, match=r"build it with .*scripts/build-sim\.sh sort --out"):
        workspace.simulation(builder, "sort")
    with pytest.raises(BuildError, match=r"build it with .*scripts/build-guest\.sh"):
        workspace.guest(builder)
    with pytest.raises(BuildError, match=r"build-qemus\.sh --patched-only"):
        workspace.qemu()
    assert builder.calls == []


def test_guest(workspace: Workspace, builder: Builder) -> None:
    assert workspace.guest(builder).folder == workspace.root / "build/guest-plain"
    mine = workspace.guest(builder, modules=[Path("/my/driver")], programs=[Path("/my/test")],
                           kernel="linux-image-6.1.0-1-amd64")
    assert mine.folder.parent == workspace.root / "build"
    assert builder.calls[1][:7] == ("build-guest.sh", "--module", "/my/driver", "--program",
                                    "/my/test", "--kernel", "linux-image-6.1.0-1-amd64")


def test_those_that_share_build_once(tmp_path: Path, builder: Builder) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    for _ in range(2):
        Workspace(tmp_path, shared=shared).simulation(builder, "sort")
    assert len(builder.calls) == 1


def test_a_build_that_failed_is_tried_again(tmp_path: Path, builder: Builder) -> None:
    def fail(script: str, words: Sequence[str]) -> None:
        raise BuildError(script)

    workspace = Workspace(tmp_path, shared=tmp_path)
    with pytest.raises(BuildError):
        workspace.simulation(fail, "sort")
    workspace.simulation(builder, "sort")
    assert len(builder.calls) == 1


def test_options_of_the_scripts_are_there() -> None:
    for script, options in (
        ("build-sim.sh", ("--top", "--files", "--out", "--waves", "-G", "-D")),
        ("build-guest.sh", ("--module", "--program", "--kernel", "--out")),
    ):
        text = subprocess.run(
            [CHECKOUT / "scripts" / script, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in options:
            assert f"  {option} " in text


def test_simulation_of_a_program() -> None:
    assert Simulation.of_program("/a/b", "+x=1").command == ("/a/b", "+x=1")
    with pytest.raises(ValueError, match="needs a program"):
        Simulation.of_program()


# ---- machines ----


@pytest.fixture
def machine(workspace: Workspace, builder: Builder) -> Machine:
    return Machine(Path(__file__), workspace.guest(builder))


def words(machine: Machine) -> str:
    return " ".join(machine.command("accel.run=agent", [], []))


def test_machine_under_kvm_and_behind_an_iommu(machine: Machine) -> None:
    def other(**settings: object) -> str:
        return words(Machine(machine.qemu, machine.image, **settings))  # type: ignore[arg-type]

    assert "-M q35 -accel tcg -cpu max -smp 2 -m 512" in words(machine)
    assert "-M q35 -accel kvm -cpu host" in other(accelerator="kvm")
    assert "-M q35 -device intel-iommu,intremap=on -accel tcg" in other(iommu=True)
    assert "intel_iommu=on" in other(iommu=True)
    assert "-M q35,kernel-irqchip=split -device intel-iommu" in other(iommu=True, accelerator="kvm")
    assert other(append="nokaslr").count(" nokaslr") == 1
    assert other(slots=3).count("pcie-root-port") == 3
    with pytest.raises(ValueError, match="'hvf' is none of"):
        other(accelerator="hvf")


def test_state_is_kept_for_the_same_machine_only(machine: Machine) -> None:
    key = machine.key()
    assert Machine(machine.qemu, machine.image).key() == key
    assert Machine(machine.qemu, machine.image, cpus=1).key() != key
    machine.image.initramfs.write_text("another")
    assert machine.key() != key
