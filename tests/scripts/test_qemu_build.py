# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/build-qemus.sh takes and refuses, where it finds sources, what it makes of them, and
the names of what is built, scripts/qemu_build. A real build is the suite qemu."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest
from shell import ROOT, refused, run, script

from builds.cache import sha256_of
from builds.commands import Log
from qemu_build import compile as compiling
from qemu_build import completion, crates, meson_files, results, sources, tools, tree
from qemu_build.build import DEVICE, Build, Source, Tree
from qemu_build.options import Options
from qemu_build.releases import FILE, Releases, upstream_of

BUILD = ROOT / "scripts/build-qemus.sh"
RELEASES = Releases.read()
# Debian's packages, and which of them is taken: with the name of a release, and without.
DEBIAN = ["1:11.1.3+ds-1", "1:11.1.2+ds-3", "1:10.2.2+ds-1", "1:10.2.1+ds-1~bpo13+1",
          "1:10.0.13+ds-0"]
TAKEN = {"": "1:10.2.2+ds-1", "10.2": "1:10.2.2+ds-1", "11.1": "1:11.1.3+ds-1", "10.1.3": ""}
NONE = "a" * 64


def bash(text: str, *words: str | Path) -> str:
    """What bash says, with scripts/lib.sh."""
    return run("bash", "-c", f"set -euo pipefail; . scripts/lib.sh; {text}", "bash",
               *words).strip("\n")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A run with a cache of its own."""
    cache = tmp_path / "cache"
    for name in ("qemu", "log"):
        (cache / name).mkdir(parents=True)
    return Build(Options.of([], RELEASES), RELEASES, cache, Log(cache / "log/log"))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs that stand in for others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


# ---- options ---------------------------------------------------------------------------

@pytest.mark.parametrize(("words", "told"), [
    (["--none"], "unknown option --none; see --help"),
    (["word"], "unknown option word; see --help"),
    (["--jobs"], "--jobs needs a value; see --help"),
    (["--jobs", "0"], "--jobs must be a number from 1, not '0'"),
    (["--target", "arm"], "--target is arm, expected x86_64 or aarch64"),
    (["--target", "aarch64", "--asan"], "--target aarch64 is patched only, and without --asan"),
    (["--target", "aarch64", "--baseline-only"],
     "--target aarch64 is patched only, and without --asan"),
    (["--release", "9"], f"--release must be one of {' '.join(RELEASES.names)}, not '9'"),
    (["--sha256", "abc"], "--sha256 must be 64 hex digits, not 'abc'"),
])
def test_refused(words: list[str], told: str) -> None:
    """What does not go together."""
    refused(f"[build-qemus.sh] error: {told}\n", BUILD, *words, status=1)


def test_help(tmp_path: Path) -> None:
    """It tells of the release that is named, and does nothing else."""
    said = run(BUILD, "--release", "11.1", "--help", cwd=tmp_path)
    assert said.startswith("usage: scripts/build-qemus.sh [option...]\n")
    assert f"default: QEMU {RELEASES.named('11.1').upstream} from upstream" in said
    assert f"one of {', '.join(RELEASES.names)}\n" in said


def test_options() -> None:
    """The last one counts, and what follows from others."""
    def flavours(*words: str) -> tuple[str, ...]:
        return Options.of(list(words), RELEASES).flavours

    assert flavours() == ("patched", "baseline")
    assert flavours("--patched-only", "--baseline-only") == ("baseline",)
    assert flavours("--baseline-only", "--asan") == ("asan",)
    assert flavours("--target", "aarch64") == ("aarch64",)
    options = Options.of(["--debian-package", "d", "--sha256", NONE.upper()], RELEASES)
    assert (options.origin, options.sha256) == ("debian", NONE)
    assert Options.of(["--source", "x", "--upstream"], RELEASES).origin == "upstream"


# ---- releases --------------------------------------------------------------------------

def test_releases() -> None:
    """Each version of QEMU has its release, and each of Debian's packages."""
    assert {RELEASES.series_for(version).name for version in ("10.2.0", "10.2.50")} == {"10.2"}
    assert RELEASES.series_for("11.0.50").rust == "1.83.0"
    for version in ("0.1", "10.1", "10.10.1"):
        with pytest.raises(SystemExit, match=f"no patch series for QEMU {version}; patches/ has: "
                                             r"10\.1\.\* "):
            RELEASES.series_for(version)
    for name, version in TAKEN.items():
        # A mirror has what it has: of a release that is not there, nothing is taken.
        assert RELEASES.nearest(name, DEBIAN) == version
    assert upstream_of("1:10.2.1+ds-1~bpo13+1") == "10.2.1"
    assert sources.newest_first(["1:9.2-1", "1:10.2-1", "1:9.2-1"]) == ["1:10.2-1", "1:9.2-1"]


def test_damaged_releases(tmp_path: Path) -> None:
    """A list that is damaged is told, and where."""
    good, file = FILE.read_text(), tmp_path / "releases.toml"
    file.write_text(good + "\nkey = value\n")
    with pytest.raises(SystemExit, match=f"{file}: Invalid value .at line"):
        Releases.read(file)
    file.write_text(good.replace("[bindgen]", "[binding]"))
    with pytest.raises(SystemExit, match=f"{file} has no 'bindgen'"):
        Releases.read(file)


# ---- what must be installed ------------------------------------------------------------

def test_packages() -> None:
    """More where more is built."""
    few = tools.packages(Options.of([], RELEASES), RELEASES)
    more = tools.packages(Options.of(["--full", "--target", "aarch64"], RELEASES), RELEASES)
    assert few == [*RELEASES.packages, *few[len(RELEASES.packages):]]
    assert set(more) - set(few) == {*RELEASES.full_packages, "libfdt-dev"}


@pytest.mark.parametrize(("version", "oldest", "enough"), [
    ("1.83.0", "1.83.0", True), ("1.100.0", "1.83.0", True), ("1.9.0", "1.83.0", False),
    ("1.83.0-nightly", "1.83.0", True), ("2.0", "1.83.0", True), ("0.59.2", "0.60.0", False)])
def test_versions(version: str, oldest: str, enough: bool) -> None:
    """Numbers are compared, not letters."""
    assert tools.is_new_enough(version, oldest) is enough


def test_rust(programs: Path) -> None:
    """An old one is refused before minutes of work."""
    script(programs / "cargo", "#!/bin/sh\n")
    script(programs / "rustc", "#!/bin/sh\necho 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'\n")
    with pytest.raises(SystemExit, match=r"Rust 1\.63\.0 is too old: QEMU 10\.2\.2 needs rustc "
                                         r"1\.83\.0 or newer"):
        tools.check_rust("10.2.2", RELEASES.series_for("10.2.2"))


def test_bindgen(build: Build, programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An old one is not taken: cargo builds one."""
    script(programs / "bindgen", "#!/bin/sh\necho bindgen 0.60.1\n")
    assert tools.find_bindgen(build) == "bindgen"
    script(programs / "bindgen", "#!/bin/sh\necho bindgen 0.59.9\n")
    script(programs / "cargo", '#!/bin/sh\necho "cargo $*"\n')
    assert tools.find_bindgen(build) == str(build.cache / "cargo/bin/bindgen")
    assert "bindgen 0.59.9 is older than 0.60.0: building" in capfd.readouterr().out
    assert f"--version {RELEASES.bindgen_cargo} bindgen-cli" in build.log.file.read_text()


# ---- sources ---------------------------------------------------------------------------

def qemu_tree(folder: Path, version: str = "10.2.2") -> Path:
    """What looks like a source of QEMU."""
    for name in ("configure", "hw/a.c", "hw/B.c", ".git/HEAD", "build/x", "roms/big", "hw/build/y"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "VERSION").write_text(f"{version}\n")
    return folder


TREE_ID = r"""cd "$1"
find . \( -path ./.git -o -path ./build -o -path ./roms \) -prune -o -type f -printf '%P\0' |
  LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64"""


def test_tree(tmp_path: Path) -> None:
    """A tree is known by what is copied of it, as before."""
    folder = qemu_tree(tmp_path / "qemu")
    key = sources.from_local(str(folder), "").key
    assert key == bash(TREE_ID, folder)
    (folder / "roms/big").write_text("other")
    (folder / "build/x").write_text("other")
    assert sources.tree_key(folder) == key
    (folder / "hw/build/y").write_text("other")
    assert sources.tree_key(folder) != key
    with pytest.raises(SystemExit, match=r"--sha256 is for tarballs, and .* is a folder"):
        sources.from_local(str(folder), NONE)
    (folder / "VERSION").unlink()
    with pytest.raises(SystemExit, match="is no QEMU source tree: it has no VERSION"):
        sources.from_local(str(folder), "")
    with pytest.raises(SystemExit, match="--source /none does not exist"):
        sources.from_local("/none", "")


def test_tarball(tmp_path: Path) -> None:
    """A tarball that is another than the checksum says is refused."""
    tarball = tmp_path / "qemu.tar"
    tarball.write_text("it")
    source = sources.from_local(str(tarball), sha256_of(tarball))
    assert source == Source(tarball, hashlib.sha256(b"it").hexdigest(), str(tarball))
    with pytest.raises(SystemExit, match=f"has sha256 {source.key}, but --sha256 says {NONE}"):
        sources.from_local(str(tarball), NONE)


# It has what $ANSWER says, and keeps a list of what it was asked for.
CURL = """#!/bin/sh
echo "$*" >>"$ASKED"
case $ANSWER in
  gone) echo "curl: (6) Could not resolve host"; exit 6 ;;
  breaks) case $* in *.part*) echo "curl: (18) partial"; exit 18 ;; esac ;;
esac
while [ $# -gt 1 ]; do
  case $1 in -o) echo "$ANSWER" >"$2" ;; esac
  shift
done
"""


def test_upstream(build: Build, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  capsys: pytest.CaptureFixture[str]) -> None:
    """Upstream is asked once a day, and what comes is checked."""
    script(programs / "curl", CURL)
    asked = tmp_path / "asked"
    asked.write_text("")
    monkeypatch.setenv("ASKED", str(asked))

    def answers(answer: str) -> Source | sources.Missing:
        monkeypatch.setenv("ANSWER", answer)
        asked.write_text("")
        return sources.from_upstream(build)

    why = "curl: (6) Could not resolve host"
    assert answers("gone") == sources.Missing(f"upstream cannot be reached ({why})")
    assert answers("gone") == sources.Missing(
        f"upstream could not be reached within the last day ({why}); --upstream tries again")
    assert asked.read_text() == ""
    remembered = build.cache / sources.UNREACHABLE
    os.utime(remembered, (time.time() - 25 * 3600,) * 2)
    assert answers("breaks") == sources.Missing(
        "the download from upstream broke off (curl: (18) partial)")
    assert not remembered.exists()
    with pytest.raises(SystemExit, match=r"qemu-10\.1\.3\.tar\.xz from upstream has sha256 \w{64}, "
                                         f"expected {RELEASES.named('').sha256}"):
        answers("another file")
    version = RELEASES.named("").upstream
    assert f"https://download.qemu.org/qemu-{version}.tar.xz" in asked.read_text()
    assert os.listdir(build.cache / "download") == []
    # One that is there was checked when it came.
    tarball = build.cache / f"download/qemu-{version}.tar.xz"
    tarball.write_text("it")
    assert answers("gone") == Source(tarball, RELEASES.named("").sha256, "upstream's tarball")
    build.options.release = "10.2"
    assert answers("gone") == sources.Missing(
        "patches/releases.toml has no checksum of a tarball of upstream's for release 10.2")


DSC = """-----BEGIN PGP SIGNED MESSAGE-----
Format: 3.0 (quilt)
Checksums-Sha1:
 aaaa 38 qemu_10.2.2+ds.orig.tar.xz
Checksums-Sha256:
 {debian} 100 qemu_10.2.2+ds-1.debian.tar.xz
 {orig} 38 qemu_10.2.2+ds.orig.tar.xz
Files:
 bbbb 38 qemu_10.2.2+ds.orig.tar.xz
"""


def test_debian(build: Build, tmp_path: Path) -> None:
    """Debian's tarball is what its .dsc says, or is refused."""
    folder = tmp_path / "debian"
    folder.mkdir()
    build.options.debian_package = str(folder)
    with pytest.raises(SystemExit, match="holds no whole source package"):
        sources.from_debian(build, "")
    tarball = folder / "qemu_10.2.2+ds.orig.tar.xz"
    tarball.write_text("it")
    dsc = folder / "qemu_10.2.2+ds-1.dsc"
    dsc.write_text(DSC.format(debian=NONE, orig=sha256_of(tarball)))
    assert sources.from_debian(build, "") == Source(
        tarball, sha256_of(tarball), f"Debian's source package ({tarball.name})")
    dsc.write_text(DSC.format(debian=sha256_of(tarball), orig=NONE))
    with pytest.raises(SystemExit, match=f"has sha256 .*, but {dsc.name} says {NONE}".replace(
            "+", r"\+")):
        sources.from_debian(build, "")
    assert sources.tarball_of("Checksums-Sha256:\n") is None


# ---- what a source may lack ------------------------------------------------------------

def wrap(folder: Path, name: str, **values: str) -> crates.Wrap:
    """A .wrap file."""
    file = folder / f"{name}.wrap"
    file.write_text("[wrap-file]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()))
    return crates.Wrap(file)


# What fetches has the crates in its own folder then.
CARGO = """#!/bin/sh
folder=$CARGO_HOME/registry/cache/index
mkdir -p "$folder"
echo "$CONTENT" >"$folder/proc-macro2-1.0.95.crate"
"""


def test_crates(build: Build, programs: Path, tmp_path: Path,
                monkeypatch: pytest.MonkeyPatch) -> None:
    """A crate comes by cargo and is checked; it is then where Meson looks for it."""
    script(programs / "cargo", CARGO)
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo"))
    subprojects = tmp_path / "subprojects"
    subprojects.mkdir()
    content = hashlib.sha256(b"good\n").hexdigest()
    with_url = wrap(subprojects, "proc-macro2-1-rs", directory="proc-macro2-1.0.95",
                    source_hash=content, source_url="https://x", source_filename="p.tar.gz")
    assert with_url.crate == crates.Crate("proc-macro2", "1.0.95", content)
    monkeypatch.setenv("CONTENT", "bad")
    with pytest.raises(SystemExit, match=r"crate proc-macro2 1\.0\.95: cargo fetched sha256 "
                                         rf"\w{{64}}, expected {content}"):
        crates.place_crates(build, subprojects, [with_url])
    assert os.listdir(build.cache / "crates") == []
    monkeypatch.setenv("CONTENT", "good")
    crates.place_crates(build, subprojects, crates.wraps_of(subprojects))
    assert (subprojects / "packagecache/p.tar.gz").read_text() == "good\n"
    # What is in the cache and is damaged is fetched again; what is there is not asked for.
    (build.cache / "crates/proc-macro2-1.0.95.crate").write_text("damaged")
    without = wrap(subprojects, "other", directory="proc-macro2-1.0.95", source_hash=content,
                   source_filename="p.tar.gz")
    crates.place_crates(build, subprojects, [without])
    assert (subprojects / "packagefiles/p.tar.gz").read_text() == "good\n"
    script(programs / "cargo", "#!/bin/sh\nexit 1\n")
    crates.place_crates(build, subprojects, [without])
    assert [each for each in build.cache.iterdir() if each.name.startswith("tmp.")] == []


@pytest.mark.parametrize(("line", "parts"), [
    ("anyhow-1-rs host 2021 - -", ["foreach name : []", "dependency(name, native: false)",
     "static_library('anyhow', 'src/lib.rs', rust_abi: 'rust', native: false,",
     "rust_args: ['--cap-lints', 'allow'], dependencies"]),
    ("syn-2-rs native 2018 feature=\"full\",b quote-1-rs,x-1-rs",
     ["foreach name : ['quote-1-rs', 'x-1-rs']", "native: true,",
      "'allow', '--cfg', 'feature=\"full\"', '--cfg', 'b']", "'rust_std=2018'"]),
    ("a-b-0.1-rs host-macro 2021 - -", ["import('rust').proc_macro('a_b', 'src/lib.rs',",
     "dependency(name, native: true)", "link_with: lib), native: false)"]),
])
def test_meson_file(line: str, parts: list[str]) -> None:
    """Each kind of crate."""
    text = meson_files.meson_file(line, "2.0.104")
    for part in [*parts, f"project('{line.split(maxsplit=1)[0]}', 'rust', version: '2.0.104'"]:
        assert part in text


def test_meson_files(tmp_path: Path) -> None:
    """Those that are not there are written, of lines that are known."""
    wrap(tmp_path, "syn-2-rs", directory="syn-2.0.104")
    with pytest.raises(SystemExit, match=r"qemu-crates\.txt does not know that crate"):
        meson_files.place_meson_files(tmp_path, "# syn-2-rs native 2021 - -\n")
    with pytest.raises(SystemExit, match="syn-2-rs is of kind 'x', which is none of host, native"):
        meson_files.place_meson_files(tmp_path, "syn-2-rs x 2021 - -\n")
    (tmp_path / "packagefiles/syn-2-rs").rmdir()
    meson_files.place_meson_files(tmp_path)
    file = tmp_path / "packagefiles/syn-2-rs/meson.build"
    assert "version: '2.0.104'" in file.read_text()
    file.write_text("its own")
    meson_files.place_meson_files(tmp_path)
    assert file.read_text() == "its own"


DEPENDENCIES = """[meson]
meson = { accepted = ">=1.5.0", installed = "1.9.0", canary = "meson" }
pycotap = { accepted = ">=1.1.0", installed = "1.3.1" }
[testdeps]
"qemu.qmp" = { accepted = ">=0.0.3", installed = "0.0.3" }
"""


def test_wheels(build: Build, tmp_path: Path) -> None:
    """Those that QEMU brings along; one without a checksum is refused."""
    assert completion.wanted_wheels(DEPENDENCIES) == {"meson": "1.9.0", "pycotap": "1.3.1"}
    newer = DEPENDENCIES.replace("[testdeps]", "[tooling]")
    assert completion.wanted_wheels(newer)["qemu.qmp"] == "0.0.3"
    (tmp_path / "python/wheels").mkdir(parents=True)
    (tmp_path / "python/wheels/pycotap-1.3.1-py3-none-any.whl").write_text("")
    (tmp_path / "pythondeps.toml").write_text(DEPENDENCIES.replace('"1.9.0"', '"0.1.0"'))
    with pytest.raises(SystemExit, match=r"QEMU 10\.2\.2 asks for meson 0\.1\.0, and wheels\.txt "
                                         "has no checksum for it"):
        completion.place_wheels(build, tmp_path, "10.2.2")


def test_cloned(build: Build, programs: Path, tmp_path: Path) -> None:
    """Subprojects that are cloned stay in the cache; where they cannot be, Debian has them."""
    script(programs / "git", '#!/bin/sh\ncase $1 in clone) echo it >"$4/file" ;; esac\n')
    subprojects = tmp_path / "qemu/subprojects"
    subprojects.mkdir(parents=True)
    name = RELEASES.cloned[0]
    wrap(subprojects, name, url="https://nowhere/x.git", revision="abc")
    completion.place_cloned(build, subprojects)
    assert (subprojects / name / "file").read_text() == "it\n"
    assert os.listdir(build.cache / "subprojects") == [f"{name}-abc"]
    # Debian's, which is in the cache.
    script(programs / "git", "#!/bin/sh\nexit 1\n")
    wrap(subprojects, RELEASES.cloned[1], url="https://nowhere/y.git", revision="abc")
    (tmp_path / f"orig/qemu/subprojects/{RELEASES.cloned[1]}").mkdir(parents=True)
    (tmp_path / f"orig/qemu/subprojects/{RELEASES.cloned[1]}/file").write_text("Debian's")
    folder = build.cache / "debian"
    folder.mkdir()
    tarball = folder / "qemu_10.2.2+ds.orig.tar.xz"
    run("tar", "-cJf", tarball, "-C", tmp_path / "orig", "qemu")
    (folder / "qemu_1.dsc").write_text(DSC.format(debian=NONE, orig=sha256_of(tarball)))
    completion.place_cloned(build, subprojects)
    assert (subprojects / RELEASES.cloned[1] / "file").read_text() == "Debian's"


def test_blobs(tmp_path: Path) -> None:
    """Files that Meson insists on; those that are there are left alone."""
    (tmp_path / "dtb").mkdir()
    (tmp_path / "meson.build").write_text("  'edk2-arm-code.fd',\n  'other.bin',\n")
    (tmp_path / "dtb/bamboo.dts").write_text("")
    (tmp_path / "dtb/bamboo.dtb").write_text("there")
    (tmp_path / "dtb/petalogix.dts").write_text("")
    completion.place_blobs(tmp_path)
    assert (tmp_path / "edk2-arm-code.fd.bz2").read_text() == ""
    assert (tmp_path / "dtb/petalogix.dtb").exists()
    assert (tmp_path / "dtb/bamboo.dtb").read_text() == "there"


def test_pristine(build: Build, tmp_path: Path) -> None:
    """A source of no release, or of another one than was asked for, leaves nothing behind."""
    source = sources.from_local(str(qemu_tree(tmp_path / "qemu", "9.0.0")), "")
    with pytest.raises(SystemExit, match=r"no patch series for QEMU 9\.0\.0"):
        tree.prepare_tree(build, source)
    assert os.listdir(build.cache / "qemu") == []
    (tmp_path / "none").mkdir()
    run("tar", "-cf", tmp_path / "none.tar", "-C", tmp_path, "none")
    with pytest.raises(SystemExit, match="is no QEMU source: it has no VERSION or no configure"):
        tree.prepare_tree(build, sources.from_local(str(tmp_path / "none.tar"), ""))
    # The tree is there, by its key.
    source = sources.from_local(str(qemu_tree(tmp_path / "good")), "")
    files = [DEVICE / f"subprojects/{name}.txt" for name in ("qemu-crates", "wheels")]
    made = build.cache / "qemu" / ("tree-" + bash('content_key "$@"', source.key, *files))
    qemu_tree(made)
    assert tree.prepare_tree(build, source) == Tree(source, made, "10.2.2",
                                                    RELEASES.named("10.2"))
    build.options.release = "11.1"
    with pytest.raises(SystemExit, match=r"--release says 11\.1, but .* is QEMU 10\.2\.2, for "
                                         r"which the series is 10\.2"):
        tree.prepare_tree(build, source)


# ---- configure and compile -------------------------------------------------------------

def test_flags() -> None:
    """They are a part of keys: none may change without a reason."""
    def flags(*words: str) -> str:
        return " ".join(compiling.flags(Options.of(list(words), RELEASES)))

    begin = ("--target-list=x86_64-softmmu --disable-docs --disable-werror "
             "--disable-install-blobs --enable-tcg --enable-kvm --disable-user --disable-tools "
             "--disable-guest-agent ")
    end = " --disable-fdt --enable-seccomp --disable-debug-info"
    assert flags() == f"{begin}--without-default-features{end}"
    assert flags("--asan") == f"{flags()} --enable-asan -Doptimization=1"
    assert flags("--debug") == flags().replace("--disable-debug-info", "--enable-debug")
    assert flags("--full").startswith(f"{begin}--enable-vnc --enable-sdl ")
    assert "--enable-fdt=system --enable-seccomp --with-devices-aarch64=accelerator-pcie" in flags(
        "--target", "aarch64")


def test_devices(tmp_path: Path) -> None:
    """Of ARM's machines virt stays."""
    for name in ("arm", "aarch64"):
        folder = tmp_path / f"configs/devices/{name}-softmmu"
        folder.mkdir(parents=True)
        (folder / "default.mak").write_text(
            f"# CONFIG_ARM_VIRT=n\n# CONFIG_{name.upper()}=n\n#CONFIG_RASPI=n\nCONFIG_X=y\n"
            "# CONFIG_TEST_DEVICES=n\n")
    compiling.place_devices(tmp_path, "10.2.2")
    made = tmp_path / "configs/devices/aarch64-softmmu/accelerator-pcie.mak"
    assert made.read_text().split() == ["CONFIG_ARM=n", "CONFIG_RASPI=n", "CONFIG_AARCH64=n",
                                        "CONFIG_RASPI=n"]
    (tmp_path / "configs/devices/arm-softmmu/default.mak").write_text("")
    (tmp_path / "configs/devices/aarch64-softmmu/default.mak").write_text("")
    with pytest.raises(SystemExit, match="does not list machines as it is known here"):
        compiling.place_devices(tmp_path, "10.2.2")


# It fails where there is a file.
NINJA = r"""#!/bin/sh
echo "$NINJA_STATUS|$*" >"$2/asked"
for i in 10 20 30; do echo "[$i/40] Compiling C object $i"; done
echo "note: of others"
echo "[31/40] rustc rust/libaccelerator_pcie.rlib"
echo "warning: unused rust/libaccelerator_pcie.rlib.p/structured/link.rs:1"
if [ -e "$2/fail" ]; then
  echo "FAILED: x.o"; echo "cc -c x.c"; echo "x.c:1: error: no"; exit 1
fi
echo "[40/40] Linking"
"""


def test_ninja(build: Build, programs: Path, tmp_path: Path,
               capfd: pytest.CaptureFixture[str]) -> None:
    """How far it is, and what compilers said of our files; of all where one has failed."""
    script(programs / "ninja", NINJA)
    build.options.jobs = "3"
    compiling.run_ninja(build, tmp_path, "10.2.2")
    said = capfd.readouterr()
    assert said.out.splitlines() == [
        f"[scripts] compiling: {percent} % ({step} of 40)"
        for percent, step in ((25, 10), (50, 20), (75, 30), (100, 40))]
    assert said.err == "warning: unused qemu-rust-device/src/link.rs:1\n"
    assert (tmp_path / "asked").read_text() == (
        f"[%f/%t] |-C {tmp_path} -j 3 qemu-system-x86_64\n")
    (tmp_path / "fail").write_text("")
    with pytest.raises(SystemExit, match=r"QEMU 10\.2\.2 does not compile; the whole log is "
                                         f"{build.log.file}"):
        compiling.run_ninja(build, tmp_path, "10.2.2")
    assert capfd.readouterr().err == "FAILED: x.o\nx.c:1: error: no\n"
    assert build.log.file.read_text().endswith("x.c:1: error: no\n== ninja failed\n")


# ---- results ---------------------------------------------------------------------------

OLD_KEYS = r"""
inputs=(2 "$1" "$2" "$3" "$REPO_DIR/patches/10.2")
printf 'baseline-10.2.2-%s\n' "$(content_key "${inputs[@]}")"
inputs+=("$REPO_DIR/qemu-rust-device")
for ours in carrier protocol socket; do inputs+=("$REPO_DIR/$ours/src"); done
printf 'patched-10.2.2-%s\n' "$(content_key "${inputs[@]}")"
printf 'work-patched-10.2.2-%s\n' "$(content_key "$1" "$2" "$3" | cut -c1-8)"
"""


def a_tree(folder: Path) -> Tree:
    """QEMU 10.2.2, as it was found."""
    return Tree(Source(folder, NONE, "a tarball"), folder, "10.2.2", RELEASES.named("10.2"))


def test_keys(build: Build, tmp_path: Path) -> None:
    """What is in the caches of users is found there: the keys are those that they were."""
    made = a_tree(tmp_path)
    found = [results.result_of(build, made, flavour, "gcc; rustc").name
             for flavour in ("baseline", "patched")]
    found.append(results.work_of(build, made, "patched", "gcc; rustc").name)
    flags = " ".join(compiling.flags(build.options))
    assert found == bash(OLD_KEYS, NONE, flags, "gcc; rustc").splitlines()


QEMU = "#!/bin/sh\necho 'name \"e1000\"'\n"
PATCHED = QEMU + "echo 'name \"accelerator-pcie\"'\n"


def test_check(build: Build, tmp_path: Path) -> None:
    """A QEMU that is not what it should be is no result."""
    plain, patched = script(tmp_path / "plain", QEMU), script(tmp_path / "patched", PATCHED)
    broken = script(tmp_path / "broken", "#!/bin/sh\necho no glib >&2\nexit 127\n")
    results.check(build, "baseline", plain)
    results.check(build, "asan", patched)
    for flavour, program, told in (
            ("baseline", patched, "has the device accelerator-pcie, but is the baseline"),
            ("patched", plain, "has no device accelerator-pcie"),
            ("patched", broken, "the QEMU that was built does not run")):
        with pytest.raises(SystemExit, match=told):
            results.check(build, flavour, program)
    assert build.log.file.read_text() == "no glib\n"


def test_install(build: Build, tmp_path: Path) -> None:
    """A result is whole, or is not there."""
    work, result = tmp_path / "work", build.cache / "qemu/patched-10.2.2-0123456789abcdef"
    blobs = work / "source/pc-bios"
    (blobs / "keymaps").mkdir(parents=True)
    (work / "build").mkdir()
    script(work / "build/qemu-system-x86_64", PATCHED)
    for name in ("efi-virtio.rom", "efi-e1000e.rom", "bios-256k.bin", "kvmvapic.bin", "unused.bin",
                 "linuxboot_dma.bin", "keymaps/de", "keymaps/meson.build"):
        (blobs / name).write_text(name)
    with pytest.raises(SystemExit, match=r"firmware vgabios-stdvga\.bin is neither"):
        results.install(build, a_tree(tmp_path), "patched", work, result)
    assert not result.exists()
    (blobs / "vgabios-stdvga.bin").write_text("")
    result.mkdir()
    (result / "old").write_text("")
    results.install(build, a_tree(tmp_path), "patched", work, result)
    files = sorted(str(each.relative_to(result)) for each in result.rglob("*") if each.is_file())
    assert files == ["bin/qemu-system-x86_64", "share/qemu/bios-256k.bin",
                     "share/qemu/efi-e1000e.rom", "share/qemu/efi-virtio.rom",
                     "share/qemu/keymaps/de", "share/qemu/kvmvapic.bin",
                     "share/qemu/linuxboot_dma.bin", "share/qemu/vgabios-stdvga.bin", "source"]
    assert (result / "source").read_text() == (
        f"version=10.2.2\nfrom=a tarball\nsha256={NONE}\nseries=patches/10.2\n"
        "firmware=that of QEMU\n")
    assert os.access(result / "bin/qemu-system-x86_64", os.X_OK)
    assert [each.name for each in result.parent.iterdir()] == [result.name]


def test_prune(build: Build) -> None:
    """The last eight of a flavour stay, those in use, and others; trees stay for a month."""
    def aged(name: str, days: float) -> Path:
        folder = build.cache / "qemu" / name
        folder.mkdir()
        os.utime(folder, (time.time() - days * 24 * 3600,) * 2)
        return folder

    made = [aged(f"patched-10.2.2-{i:016x}", i) for i in range(12)]
    kept = [aged(f"baseline-10.2.2-{99:016x}", 99), aged("tree-new", 30), aged("work-new", 30),
            aged("patched-10.2.2-0", 99)]
    gone = [aged("tree-old", 32), aged("work-patched-old", 32)]
    results.prune(build.cache, "patched", {str(made[10])})
    assert [each.is_dir() for each in made] == [*[True] * 8, False, False, True, False]
    assert [each.is_dir() for each in kept] == [True] * 4
    assert [each.is_dir() for each in gone] == [False, False]


def test_python() -> None:
    """It is Python's own library that a bare machine has."""
    code = ("import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; "
            "sys.path.insert(0, 'scripts'); import build_qemus, build_guest")
    run(sys.executable, "-B", "-I", "-c", code)
