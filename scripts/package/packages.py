# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes the packages of scripts/package.sh, which has the options and the environment of Python:
packages.py OUT QEMU WHAT..., where an empty QEMU is to be built."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
NAME = "accelerator-cosim"
PREFIX = f"opt/{NAME}"
# The tools that read a record.
TOOLS = ["accelerator-trace", "accelerator-replay"]
OF_TOOLS = [f"--package={tool}" for tool in TOOLS]
COPIED = ["README.md", "CHANGELOG.md", "LICENSES", "Bender.yml", "docs", "hdl", ":!hdl/tests",
          "protocol/PROTOCOL.md", "examples", "scripts/demo.sh", "scripts/vm.sh", "scripts/lib.sh"]
# What pip leaves with a package.
LEFT = ["__pycache__", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"]
LICENCES = ["LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "UNLICENSE*", "vendor/COPYING*"]
CONTROL = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer} <{email}>
Installed-Size: {size}
Depends: {depends}
Recommends: python3 (>= 3.11)
Suggests: python3-pytest, verilator
Section: electronics
Priority: optional
Description: PCIe card in QEMU whose logic is RTL in an HDL simulator
 A guest in QEMU sees a PCI Express card, and the card is RTL that runs in an HDL
 simulator. The Linux driver runs unmodified in the VM, the RTL unmodified in the
 simulator.
 .
 QEMU with the device accelerator-pcie, its firmware, the DPI library for simulators
 with its C header, the bridge in SystemVerilog with file lists and examples, a
 harness for driver tests in Python, accelerator-trace and accelerator-replay,
 which read and replay records of simulations, and, for the command
 accelerator-demo, a simulation and a small guest.
"""

Word = str | Path


def say(text: str) -> None:
    """One line of progress."""
    print(f"[package.sh] {text}", flush=True)


def die(text: str) -> NoReturn:
    """Says why, and ends."""
    sys.exit(f"[package.sh] error: {text}")


def mib(file: Path) -> str:
    """Its size."""
    return f"{file.stat().st_size >> 20} MiB"


def from_lib(function: str, *words: Word) -> str:
    """What a function of scripts/lib.sh prints."""
    command = f'SCRIPT_NAME=package.sh; . scripts/lib.sh; {function} "$@"'
    said = subprocess.run(["bash", "-euo", "pipefail", "-c", command, "bash", *words], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return said.strip()


def codename() -> str:
    """The release of Debian that this is."""
    return from_lib(". /etc/os-release; printf '%s' \"$VERSION_CODENAME\"; :")


def files_below(folder: Path) -> list[str]:
    """Paths within it, in one order."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*")
                  if file.is_file() and not file.is_symlink())


class Packages:
    """Makes them, with a folder for what is made on the way."""

    def __init__(self, out: Path, qemu: str, work: Path) -> None:
        self.out, self.work, self.qemu_given = out, work, qemu
        self.qemu = Path(qemu or ROOT / "build/qemu/patched")
        self.log = out / "package.log"
        self.version = os.environ["PACKAGE_VERSION"]
        self.architecture = self.output("dpkg", "--print-architecture").strip()
        self.deb = out / f"{NAME}_{self.version}_{self.architecture}.deb"
        self.epoch = os.environ["SOURCE_DATE_EPOCH"]
        self.root, self.to = work / "root", work / "root" / PREFIX

    # ---- commands ----

    def output(self, *command: Word, cwd: Path = ROOT) -> str:
        """What a command prints; what it complains of is in the log."""
        with self.log.open("ab") as log:
            return subprocess.run(command, check=True, cwd=cwd, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=log, text=True).stdout

    def logged(self, text: str, *command: Word, cwd: Path = ROOT,
               env: dict[str, str] | None = None) -> None:
        """Runs a command with its output in the log, whose end is shown if it fails."""
        with self.log.open("ab") as log:
            log.write(f"\n== {text}\n== {' '.join(map(str, command))}\n".encode())
            log.flush()
            status = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if status != 0:
            print(*self.log.read_text(errors="replace").splitlines()[-40:], sep="\n",
                  file=sys.stderr)
            die(f"{text} failed with status {status}; the whole log is {self.log}")

    def build(self, *command: str) -> None:
        """Without the time of the packages: C++ is compiled anew when it changes."""
        text = " ".join(command)
        say(text)
        self.logged(text, *command, env={name: value for name, value in os.environ.items()
                                         if name != "SOURCE_DATE_EPOCH"})

    # ---- what is packaged ----

    def wheel(self, folder: Path) -> Path:
        """The Python package."""
        self.logged("building the wheel", Path(sys.executable).parent / "pip",
                    "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation",
                    "--wheel-dir", folder, "./python")
        (file,) = folder.glob("*.whl")
        return file

    def linked_crates(self) -> set[str]:
        """NAME-VERSION of the crates in what is built. zeromq-src compiles libzmq; others that
        only build are not in there."""
        def tree(edges: str) -> list[tuple[str, str]]:
            return re.findall(r"^/(\S+) v([^ /]+)[^/]*/$", self.output(
                "cargo", "tree", "--locked", "--package", "accelerator-dpi", "--package",
                "accelerator-pcie", *OF_TOOLS, "--prefix", "none", "--format", "/{p}/", "--edges",
                edges), re.M)
        both = [*tree("normal,no-proc-macro"),
                *(crate for crate in tree("normal,build") if crate[0] == "zeromq-src")]
        return {f"{name}-{version}" for name, version in both}

    def crate_licences(self, to: Path) -> None:
        """Licences of these."""
        linked = self.linked_crates()
        metadata = json.loads(self.output("cargo", "metadata", "--locked", "--format-version", "1"))
        for package in metadata["packages"]:
            folder = Path(package["manifest_path"]).parent
            if "/registry/src/" not in str(folder) or folder.name not in linked:
                continue
            for file in (each for pattern in LICENCES for each in folder.glob(pattern)):
                if file.is_file():
                    (to / folder.name).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, to / folder.name / file.name)
        if not to.is_dir():
            die("cargo knows no licence of a crate")

    def value(self, name: str) -> str:
        """What the folder of QEMU says of its source."""
        found = re.findall(f"^{name}=(.*)$", (self.qemu / "source").read_text(), re.M)
        return found[0].rstrip(" ") if found else ""

    def copy_files(self) -> None:
        """Files of the repository, with their paths."""
        for name in self.output("git", "ls-files", "-z", "--", *COPIED).split("\0")[:-1]:
            (self.to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.to / name)
            (self.to / name).chmod(0o755 if os.access(ROOT / name, os.X_OK) else 0o644)

    def source(self) -> None:
        """The repository as it is here, in a tar."""
        names = sorted(self.output("git", "ls-files", "-z").split("\0")[:-1], key=os.fsencode)
        file = self.to / f"source/{NAME}-{self.version}.tar.xz"
        tar = subprocess.Popen(
            ["tar", "--create", "--no-recursion", "--owner", "0", "--group", "0",
             "--numeric-owner", "--mode", "go+u,go-w", "--mtime", f"@{self.epoch}", "--transform",
             f"s,^,{NAME}-{self.version}/,S", "--null", "--files-from", "-"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with file.open("wb") as out, subprocess.Popen(
                ["xz", "-6", "--threads=1"], stdin=tar.stdout, stdout=out) as xz:
            assert tar.stdin
            tar.stdin.write("\0".join([*names, ""]).encode())
            tar.stdin.close()
        if tar.wait() != 0 or xz.returncode != 0:
            die("the source cannot be packed")

    def copyright(self) -> None:
        """The file that says whose what is."""
        text = (ROOT / "scripts/package/copyright").read_text()
        # Each a line of the field, which begins with a space.
        sources = Path("build/guest-plain/sources").read_text().splitlines()
        values = {"VERSION": self.version,
                  "GUEST_SOURCES": "\n".join(f"  {line}" for line in sources),
                  **{f"QEMU_{name.upper()}": self.value(name)
                     for name in ("version", "from", "sha256", "series", "firmware")}}
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        if "@" in text:
            die("scripts/package/copyright has names without a value")
        (self.root / f"usr/share/doc/{NAME}/copyright").write_text(text)

    def python(self) -> None:
        """The Python package, and what it imports, as pip has it in the environment of the
        tests."""
        with zipfile.ZipFile(self.wheel(self.work / "wheel")) as wheel:
            wheel.extractall(self.to / "python")
        packages = list(Path(sys.executable).parents[1].glob("lib/python3.*/site-packages/qemu"))
        packages += Path(sys.executable).parents[1].glob(
            "lib/python3.*/site-packages/qemu_qmp-*.dist-info")
        if len(packages) < 2:
            die("the environment of the harness has no qemu.qmp")
        for folder in packages:
            shutil.copytree(folder, self.to / "python" / folder.name)
        for file in list((self.to / "python").rglob("*")):
            if file.name in LEFT:
                shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        (self.root / f"usr/lib/python3/dist-packages/{NAME}.pth").write_text(f"/{PREFIX}/python\n")

    def stage(self) -> None:
        """All that is in the .deb, where it goes."""
        to, doc = self.to, self.root / f"usr/share/doc/{NAME}"
        for name in "bin", "lib", "include", "simulations", "guest", "python", "source":
            (to / name).mkdir(parents=True)
        for folder in self.root / "usr/bin", doc, self.root / "usr/lib/python3/dist-packages":
            folder.mkdir(parents=True)
        metadata = json.loads(self.output("cargo", "metadata", "--locked", "--format-version", "1",
                                          "--no-deps"))
        target, dpi = Path(metadata["target_directory"]), Path("build/dpi")
        copies: dict[str, list[Path]] = {
            "bin": [self.qemu / "bin/qemu-system-x86_64",
                    *(target / "release" / tool for tool in TOOLS)],
            "lib": [dpi / "libaccelerator_dpi.so", dpi / "libaccelerator_dpi.a"],
            "include": [dpi / "accelerator_dpi.h"],
            "simulations": [Path("build/sim/sort/sort")],
            "guest": [Path("build/guest-plain") / name
                      for name in ("vmlinuz", "initramfs.cpio.gz", "release")]}
        for name, files in copies.items():
            for file in files:
                shutil.copy(file, to / name)
        shutil.copytree(self.qemu / "share", to / "share", symlinks=True)
        self.output("strip", "--strip-unneeded", *(to / "bin").iterdir(),
                    to / "lib/libaccelerator_dpi.so", to / "simulations/sort")
        self.copy_files()
        self.crate_licences(to / "LICENSES/crates")
        self.source()
        self.python()

        shutil.copy(ROOT / "scripts/package/accelerator-demo", self.root / "usr/bin")
        (self.root / "usr/bin/accelerator-demo").chmod(0o755)
        (self.root / "usr/bin/accelerator-qemu-system-x86_64").symlink_to(
            f"/{PREFIX}/bin/qemu-system-x86_64")
        for tool in TOOLS:
            (self.root / "usr/bin" / tool).symlink_to(f"/{PREFIX}/bin/{tool}")
        for name in "docs", "README.md":
            (doc / name).symlink_to(f"/{PREFIX}/{name}")
        with (doc / "changelog.gz").open("wb") as out:
            subprocess.run(["gzip", "-9n"], check=True, stdout=out,
                           input=(ROOT / "CHANGELOG.md").read_bytes())
        self.copyright()
        for file in [self.root, *self.root.rglob("*")]:
            if not file.is_symlink():
                mode = file.stat().st_mode
                runs = 0o111 if file.is_dir() or mode & 0o111 else 0
                file.chmod(stat.S_IMODE(mode) & 0o7000 | 0o644 | runs)

    def dependencies(self) -> str:
        """What the programs need of Debian, as its own packages say it."""
        programs = [*sorted((self.to / "bin").iterdir()), self.to / "simulations/sort",
                    self.to / "lib/libaccelerator_dpi.so"]
        folder = self.work / "shlibs"
        (folder / "debian").mkdir(parents=True)
        (folder / "debian/control").write_text(
            f"Source: {NAME}\n\nPackage: {NAME}\nArchitecture: {self.architecture}\n")
        said = self.output("dpkg-shlibdeps", "-O", *(word for program in programs
                                                     for word in ("-e", program)), cwd=folder)
        found = re.findall("^shlibs:Depends=(.*)$", said, re.M)
        if not found or "libc6" not in found[0]:
            die(f"dpkg-shlibdeps found no dependency; see {self.log}")
        return str(found[0])

    def find_qemu(self) -> None:
        """A QEMU that says what it is made of."""
        if not self.qemu_given:
            self.build("scripts/build-qemus.sh", "--patched-only")
        program = self.qemu / "bin/qemu-system-x86_64"
        if not os.access(program, os.X_OK):
            die(f"{program} is not there")
        if not (self.qemu / "source").is_file():
            die(f"{self.qemu} does not say which source it is made of: build it with this "
                "checkout's scripts/build-qemus.sh")

    def make_deb(self) -> None:
        """The package for Debian."""
        self.find_qemu()
        self.build("scripts/build-dpi.sh")
        self.build("cargo", "build", "--release", "--locked", *OF_TOOLS)
        self.build("scripts/build-sim.sh", "sort")
        self.build("scripts/build-guest.sh", "--out", "build/guest-plain")
        say(f"making {self.deb.name}")
        self.stage()
        depends = self.dependencies()
        control = self.root / "DEBIAN"
        control.mkdir()
        sums = [f"{hashlib.md5((self.root / name).read_bytes()).hexdigest()}  {name}\n"
                for name in files_below(self.root)]
        (control / "md5sums").write_text("".join(sums))
        size = self.output("du", "-sk", "--apparent-size", "--exclude", "DEBIAN", self.root)
        (control / "control").write_text(CONTROL.format(
            name=NAME, version=self.version, architecture=self.architecture, depends=depends,
            size=size.split()[0], maintainer=os.environ.get("DEBFULLNAME") or "accelerator-pcie",
            email=os.environ.get("DEBEMAIL") or "accelerator-pcie@localhost"))
        for file in [self.root, *self.root.rglob("*")]:
            os.utime(file, (int(self.epoch), int(self.epoch)), follow_symlinks=False)
        # Most of it is compressed already, or programs. One thread makes the same of the same.
        result = self.work / "result.deb"
        self.logged("dpkg-deb", "dpkg-deb", "--root-owner-group", "-Zzstd", "-z12",
                    "--threads-max=1", "--build", self.root, result)
        result.rename(self.deb)
        say(f"{self.deb} ({mib(self.deb)})")

    def make_wheel(self) -> None:
        """The Python package."""
        wheel = self.wheel(self.work / "out")
        wheel.rename(self.out / wheel.name)
        say(f"{self.out / wheel.name}")

    def mirror(self, what: str) -> str:
        """Of Debian."""
        found = from_lib("debian_mirror")
        if not found:
            die(f"apt here knows no mirror of Debian to {what} from")
        return found

    def make_oci(self) -> None:
        """A minimal Debian of this release with the .deb and Python, as one layer."""
        image = self.deb.with_name(f"{self.deb.stem}.oci.tar")
        if not self.deb.is_file():
            self.make_deb()
        from_lib("need_packages", "mmdebstrap", "debian-archive-keyring", "python3")
        mirror = self.mirror("make the image")
        # What apt was told here, for instance of mirrors that are frozen.
        told = [line for line in self.output("apt-config", "dump").splitlines() if re.match(
            "Acquire::(Check-Valid-Until|http::Proxy|https::Proxy) ", line)]
        say(f"making a minimal Debian {codename()} with {self.deb.name}")
        inside = f"/tmp/{self.deb.name}"
        hooks = [f"copy-in '{self.deb}' /tmp",
                 f"chroot \"$1\" apt-get -q -y --no-install-recommends install '{inside}'",
                 f'rm "$1{inside}"', 'chroot "$1" useradd --create-home --uid 1000 cosim']
        root, made = self.work / "root.tar", self.work / "image.tar"
        self.logged("mmdebstrap", "mmdebstrap", "--variant=minbase", "--include=python3",
                    *(f"--aptopt={line}" for line in told),
                    *(f"--customize-hook={hook}" for hook in hooks), codename(), root, mirror)
        subprocess.run([sys.executable, "scripts/package/oci.py", root, made, "--version",
                        self.version, "--architecture", self.architecture, "--epoch", self.epoch],
                       check=True)
        made.rename(image)
        say(f"{image} ({mib(image)})")

    # ---- sources ----

    def wanted_sources(self) -> Iterator[tuple[str, str]]:
        """Name and version of Debian's source packages."""
        words = Path("build/guest-plain/sources").read_text().split()
        if not self.value("firmware").startswith("that"):
            words += self.value("firmware").split()
        yield from zip(words[::2], words[1::2], strict=True)

    @staticmethod
    def has_source(folder: Path, package: str, version: str) -> bool:
        """Whether a source package is in a folder with all its files."""
        dsc = folder / f"{package}_{version.rpartition(':')[2]}.dsc"
        if not dsc.is_file():
            return False
        (field,) = re.findall("^Checksums-Sha256:.*\n((?: .*\n)+)",
                              dsc.read_text(errors="replace"), re.M)
        sums = re.findall(r"^ (\w+) \d+ (\S+)$", field, re.M)
        return all((folder / name).is_file() and hashlib.sha256(
            (folder / name).read_bytes()).hexdigest() == digest for digest, name in sums)

    def apt(self) -> list[str]:
        """apt-get, which knows where sources are."""
        folder, name = self.work / "apt", codename()
        for part in "lists", "cache/archives":
            (folder / part / "partial").mkdir(parents=True)
        mirror = self.mirror("fetch the sources")
        lines = [f"deb-src {mirror} {name}{part} main"
                 for part in ("", "-updates", "-proposed-updates")]
        targets = self.output("apt-get", "indextargets", "--format",
                              "deb-src $(REPO_URI) $(RELEASE) main", "Created-By: Packages")
        lines += sorted({line for line in targets.splitlines() if f"{name}-security" in line})
        (folder / "sources.list").write_text("\n".join([*lines, ""]))
        return ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o",
                "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::Lists={folder}/lists", "-o",
                f"Dir::Cache={folder}/cache", "-o", "APT::Sandbox::User=root"]

    def make_sources(self) -> None:
        """The tarball of QEMU as it was built, and Debian's source packages as they were taken."""
        folder = self.out / f"{NAME}-{self.version}-sources"
        self.find_qemu()
        if not Path("build/guest-plain/sources").is_file():
            self.build("scripts/build-guest.sh", "--out", "build/guest-plain")
        folder.mkdir(exist_ok=True)
        cache, digest = Path(from_lib("cache_dir")), self.value("sha256")
        for file in [*cache.glob("debian/qemu*.tar.*"), *cache.glob("download/qemu*.tar.*")]:
            if hashlib.sha256(file.read_bytes()).hexdigest() == digest:
                shutil.copy(file, folder)
        if not list(folder.glob("qemu*.tar.*")):
            die(f"the cache has no tarball of QEMU with sha256 {digest}: it was built from "
                f"{self.value('from')}")
        apt = self.apt()
        self.logged("apt-get update", *apt, "update")
        wanted = list(self.wanted_sources())
        say(f"fetching {len(wanted)} source packages")
        missing = []
        for package, version in wanted:
            if not self.has_source(folder, package, version):
                with self.log.open("ab") as log:
                    subprocess.run([*apt, "source", "--download-only", "--only-source",
                                    f"{package}={version}"], cwd=folder, check=False, stdout=log,
                                   stderr=log)
            if not self.has_source(folder, package, version):
                missing.append(f"{package} {version}")
        if missing:
            die(f"the mirror does not have: {', '.join(missing)}. What it has is in {folder}: put "
                "these beside it, from https://snapshot.debian.org, and try again")
        (folder / "SHA256SUMS").unlink(missing_ok=True)
        sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
                for name in files_below(folder)]
        (folder / "SHA256SUMS").write_text("".join(sums))
        result = self.out / f"{self.deb.stem.rpartition('_')[0]}_sources.tar"
        self.output("tar", "--create", "--file", self.work / "sources.tar", "--directory", self.out,
                    "--sort", "name", "--owner", "0", "--group", "0", "--numeric-owner", "--mtime",
                    f"@{self.epoch}", folder.name)
        (self.work / "sources.tar").rename(result)
        shutil.rmtree(folder)
        say(f"{result} ({mib(result)})")


def main(out: str, qemu: str, *wanted: str) -> None:
    os.chdir(ROOT)
    os.umask(0o022)
    with tempfile.TemporaryDirectory(dir=out, prefix=".work.") as work:
        packages = Packages(Path(out), qemu, Path(work))
        makes = {"deb": packages.make_deb, "wheel": packages.make_wheel, "oci": packages.make_oci,
                 "sources": packages.make_sources}
        for what in wanted:
            makes[what]()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as failure:
        die(str(failure))
