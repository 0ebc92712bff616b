# SPDX-License-Identifier: MIT OR Apache-2.0
"""What accelerator-trace makes of a record for programs with a window: the page in a browser, the
markers in GTKWave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shell import ROOT, python_of, run

NAMES: list[str | Path] = ["--registers", ROOT / "hdl/examples/sort/registers.toml"]
COUNTS = [10, 1_000_000]


@pytest.fixture(scope="module")
def programs(release: Path) -> Path:
    """The folder of accelerator-trace, and of what makes records."""
    for program in "chromium", "gtkwave":
        assert shutil.which(program), f"{program} is missing, without which there is no test"
    run("cargo", "build", "--release", "--locked", "--package", "accelerator-trace", "--bins",
        "--example", "generate")
    return release


@pytest.fixture(scope="module")
def records(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with COUNT.record for each count of transactions."""
    folder = tmp_path_factory.mktemp("records")
    for count in COUNTS:
        run(programs / "examples/generate", folder / f"{count}.record", str(count))
    return folder


def test_page(records: Path, programs: Path, pytestconfig: pytest.Config) -> None:
    """It is not too large, and does in Debian's Chromium what it is there for."""
    for count in COUNTS:
        # The page has the name as it was given.
        run(programs / "accelerator-trace", "html", f"{count}.record", *NAMES, "--out",
            f"{count}.html", cwd=records)
        size = (records / f"{count}.html").stat().st_size
        print(f"{count} transactions: a page of {size >> 20} MiB")
        # The library is 5 MB of it.
        assert size < 5_000_000 + count * 50
    pictures = pytestconfig.getoption("--pictures")
    run("timeout", "--kill-after=10", "240", python_of("report"), "tests/report/page.py",
        *(["--pictures", pictures] if pictures else []),
        *(records / f"{count}.html" for count in COUNTS))


WAVES = """\
$timescale 1ps $end
$scope module top $end
$var wire 1 ! aclk $end
$upscope $end
$enddefinitions $end
#0
0!
#2000
1!
#2000000
0!
"""
ASK = """\
puts "file [file tail [gtkwave::getDumpFileName]]"
set said markers
lappend said [gtkwave::getMarker]
foreach name {A B C} { lappend said [gtkwave::getNamedMarker $name] }
puts $said
exit
"""


def test_markers(records: Path, programs: Path, tmp_path: Path) -> None:
    """GTKWave opens the markers beside an FST."""
    (tmp_path / "waves.vcd").write_text(WAVES, encoding="utf-8")
    run("vcd2fst", tmp_path / "waves.vcd", tmp_path / "waves.fst")
    run(programs / "accelerator-trace", "markers", records / "10.record", *NAMES, "--waves",
        tmp_path / "waves.fst", "--transaction", "10", "--transaction", "1", "--out",
        tmp_path / "markers")
    for each in "markers.gtkw", "markers.sucl":
        print((tmp_path / each).read_text(encoding="utf-8"))
    (tmp_path / "ask.tcl").write_text(ASK, encoding="utf-8")
    said = run("timeout", "--kill-after=10", "60", "xvfb-run", "-a", "gtkwave", "--script",
               "ask.tcl", "markers.gtkw", cwd=tmp_path).splitlines()
    assert "file waves.fst" in said
    # Clock 412 and clock 12 of 4 ns, whose first edge is after 2 ns.
    assert "markers 1646000 1646000 46000 -1" in said
