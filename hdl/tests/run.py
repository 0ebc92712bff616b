# SPDX-License-Identifier: Apache-2.0
"""The tests of the HDL by name: what scripts/test-hdl.sh runs in the environment that it makes."""

import argparse
import os
import sys

from benches import BENCHES, TESTS, selected

# Each bench is as long as it is, so none waits in the queue of a processor behind another.
SPREAD = ("--dist", "load", "--maxschedchunk", "1")
# What scripts/test-build.sh, test-flows.sh and test-manifests.sh run.
OTHERS = ("suite_designs.py", "suite_flows.py", "suite_manifests.py")


def parser() -> argparse.ArgumentParser:
    """The options of scripts/test-hdl.sh."""
    names = argparse.ArgumentParser(
        prog="scripts/test-hdl.sh",
        description="Tests the SystemVerilog and VHDL. The last line is: N passed, N failed.",
        epilog="Environment: ACCELERATOR_CACHE is the folder for what is built (default "
        "~/.cache/accelerator-pcie). hdl/tests/README.md says how to run single tests with pytest.")
    names.add_argument("--quick", action="store_true", help="no cocotb suites")
    names.add_argument("--seed", type=int, metavar="N",
                       help="random seed of the cocotb suites, to repeat a run; "
                       "each prints its own")
    names.add_argument("--requests", type=int, metavar="N",
                       help="of random traffic on each width of the UltraScale+ block "
                       "(default 150)")
    names.add_argument("--filter", metavar="REGEX", help="only cocotb tests with such names")
    names.add_argument("--waves", action="store_true", help="write VCD beside the logs")
    names.add_argument("--cache", metavar="DIR", help="folder for the cocotb builds and logs")
    names.add_argument("--jobs", type=int, metavar="N", default=len(os.sched_getaffinity(0)),
                       help="at once (default: as many as there are processors, %(default)s)")
    names.add_argument("--junit", metavar="FILE", help="also write a report as JUnit XML")
    names.add_argument("--list", action="store_true", help="only list the cocotb suites")
    names.add_argument("suites", nargs="*", metavar="SUITE",
                       help="cocotb suites by name or its beginning, and nothing else: bridge, "
                       "nic, uart, regs, sort, probe, virtio_net, xdma, pcie4, clocks, axi_cdc, "
                       "vhdl; --list has them all")
    return names


def tests(args: argparse.Namespace) -> list[str]:
    """What pytest is to run."""
    if not args.suites:
        return [str(file) for file in sorted(TESTS.glob("suite_*.py")) if file.name not in OTHERS]
    return [f"{TESTS / 'suite_benches.py'}::test_bench[{name}]" for name in selected(args.suites)]


def main() -> None:
    """Becomes pytest."""
    options = parser()
    args = options.parse_args()
    unknown = [name for name in args.suites if not selected([name])]
    if unknown:
        options.error(f"no suite is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    if args.list:
        print("\n".join(selected(args.suites)))
        return
    if args.quick and args.suites:
        options.error("--quick leaves out all that SUITE could name")
    if args.jobs < 1:
        options.error(f"--jobs is {args.jobs}, expected 1 or more")
    command = [sys.executable, "-m", "pytest", "-c", str(TESTS / "pytest.ini"), "-q",
               "--no-header"]
    chosen = tests(args)
    jobs = min(args.jobs, len(chosen)) if args.suites else args.jobs
    if jobs > 1:
        command += ["-n", str(jobs), *SPREAD]
    for name in "quick", "waves":
        if getattr(args, name):
            command.append(f"--{name}")
    for name in "seed", "requests", "filter", "cache", "junit":
        if getattr(args, name) is not None:
            command.append(f"--{'junit-xml' if name == 'junit' else name}={getattr(args, name)}")
    sys.stdout.flush()
    os.execv(command[0], [*command, *chosen])


if __name__ == "__main__":
    main()
