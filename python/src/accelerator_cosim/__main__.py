# SPDX-License-Identifier: MIT OR Apache-2.0
"""The command line: tests are packed into a bundle, and run as an array of jobs, of which
`docs/farms.md` is how it is used; and names of registers are read from SystemRDL, for
`docs/debugging.md`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import CosimError, FarmError, RegistersError
from .farm import Farm, collect, manifest_tests, report
from .launchers import launcher_of


def arguments_of(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those for pytest behind `--`."""
    parser = argparse.ArgumentParser(
        prog="python -m accelerator_cosim",
        description="Runs driver tests on many machines, and reads SystemRDL. Options of pytest "
                    "come last, after --.")
    commands = parser.add_subparsers(dest="command", required=True)

    bundle = commands.add_parser("bundle", help="pack tests and what they need into one file")
    bundle.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .tar.gz")
    bundle.add_argument("--include", type=Path, action="append", default=[], metavar="PATH",
                        help="a file or folder that the tests need beside theirs")
    bundle.add_argument("--package", action="append", default=[], metavar="NAME",
                        help="a package of Python that the tests import, such as pytest-xdist")
    bundle.add_argument("tests", nargs="*", help="files, folders or tests, as for pytest")

    farm = commands.add_parser("farm", help="run the tests of a bundle as an array of jobs")
    farm.add_argument("--launcher", default="local", metavar="TEXT",
                      help="`slurm` with options of sbatch, `local`, or a command that each job is "
                           "put behind, such as `ssh node{job}` (default: local)")
    farm.add_argument("--jobs", type=positive, required=True, metavar="N")
    farm.add_argument("--parallel", type=positive, metavar="N",
                      help="how many may run at once (default: all)")
    farm.add_argument("--time", type=float, default=1800.0, metavar="S",
                      help="seconds that a job may take (default: 1800)")
    farm.add_argument("--results", type=Path, default=Path("farm-results"), metavar="DIR",
                      help="a folder that all machines have (default: farm-results)")
    farm.add_argument("--junit", type=Path, metavar="FILE")
    farm.add_argument("--python", default="python3", metavar="PROGRAM",
                      help="of the machines, 3.11 or newer (default: python3)")
    farm.add_argument("--voice", type=float, default=60.0, metavar="S",
                      help="how often to say what is waited for (default: 60)")
    farm.add_argument("bundle", type=Path, help="a bundle, or the folder that it was unpacked into")

    results = commands.add_parser("report", help="bring the results of jobs together that "
                                                 "something else has started")
    results.add_argument("--jobs", type=positive, metavar="N", help="how many there are")
    results.add_argument("--bundle", type=Path, metavar="DIR",
                         help="the folder of the bundle: names what lost jobs had to run")
    results.add_argument("--junit", type=Path, metavar="FILE")
    results.add_argument("results", type=Path)

    registers = commands.add_parser("registers", help="turn SystemRDL into the file that "
                                                      "accelerator-trace takes with --registers")
    registers.add_argument("--bar", type=int, choices=range(6), default=0, metavar="N",
                           help="the BAR that the address map is (default: 0)")
    registers.add_argument("--top", metavar="NAME",
                           help="the address map (default: the last one in the files)")
    registers.add_argument("--source", metavar="NAME",
                           help="the bridge that has them, by its parameter Name (default: each)")
    registers.add_argument("--include", type=Path, action="append", default=[], metavar="DIR",
                           help="where files named by `include are looked for")
    registers.add_argument("files", type=Path, nargs="+", metavar="FILE",
                           help="SystemRDL 2.0; later ones see what earlier ones define")

    ours, theirs = list(argv), []
    if "--" in ours:
        ours, theirs = ours[:ours.index("--")], ours[ours.index("--") + 1:]
    return parser.parse_args(ours), theirs


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return number


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def run(arguments: argparse.Namespace, options: list[str]) -> int:
    if arguments.command == "bundle":
        # Pytest is needed only for this.
        from .bundle import make_bundle  # noqa: PLC0415

        count = make_bundle(arguments.out, arguments.tests, options=options,
                            include=arguments.include, packages=arguments.package)
        size = arguments.out.stat().st_size / 1e6
        say(f"{arguments.out}: {count} tests, {size:.1f} MB")
        return 0
    if arguments.command == "report":
        results: Path = arguments.results.resolve()
        if arguments.jobs:
            tests = manifest_tests(arguments.bundle) if arguments.bundle else []
            (results / "array.json").write_text(
                json.dumps({"jobs": arguments.jobs, "tests": tests}))
        return report(collect(results), arguments.junit)
    if arguments.command == "registers":
        try:
            from .registers import read_rdl, to_toml  # noqa: PLC0415
        except ModuleNotFoundError as e:
            raise RegistersError(f"{e}; what reads SystemRDL comes with: pip install "
                                 "'accelerator-cosim[rdl]'") from e
        found = read_rdl(arguments.files, top=arguments.top, include=arguments.include)
        print(to_toml(found, bar=arguments.bar, source=arguments.source), end="")
        return 0
    farm = Farm(launcher_of(arguments.launcher), arguments.results.resolve(), say=say,
                voice=arguments.voice)
    status = report(
        farm.run(arguments.bundle, arguments.jobs, parallel=arguments.parallel,
                 seconds=arguments.time, options=options, python=arguments.python),
        arguments.junit)
    return 128 + farm.signals[0] if farm.signals else status


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    arguments, options = arguments_of(words)
    try:
        return run(arguments, options)
    except FarmError as e:
        print(f"error: {e}; what there is: python -m accelerator_cosim report "
              f"{shlex.quote(str(getattr(arguments, 'results', 'DIR')))}", file=sys.stderr)
    except CosimError as e:
        print(f"error: {e}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
