# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the builds in Python share, scripts/builds: keys and locks that those of scripts/lib.sh are
too, options, logs, signals, and a machine without Python."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from processes import is_over
from shell import DEFAULT_SIGNALS, ROOT, run, script, start, status_of, wait_until

from builds.cache import cache_dir, content_key, link, make_folder
from builds.commands import Log, piped
from builds.options import take

SIGNALS = pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM],
                                  ids=["HUP", "INT", "TERM"])


def in_python(text: str, *words: str | Path) -> list[str | Path]:
    """A program that has scripts/ to import from."""
    begin = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
    return [sys.executable, "-B", "-c", begin + text, *words]


def test_key(tmp_path: Path) -> None:
    """A key is that of scripts/lib.sh, or what is in the caches of users would be built anew."""
    folder = tmp_path / "a folder"
    for name in ("b", "B", "a-b", "a/b", "a/ä", "z/x.pyc", "a b", "a\\b", "a\nb", "a\rb", ".c"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"this is {name}")
    (folder / "link").symlink_to("b")
    (folder / "elsewhere").symlink_to("/usr")
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").symlink_to(folder)
    words = ["text", "", "two\nlines", "relative/b", "/nowhere", str(folder), str(folder / "b"),
             str(tmp_path / "empty"), str(tmp_path / "there"), str(folder / "link"), "b", "a b"]
    for part in ([], words, words[:1], words[5:6], [*words, "more"]):
        wanted = run("bash", "-c", '. scripts/lib.sh; content_key "$@"', "bash", *part).strip()
        assert content_key(*part) == wanted
    (folder / "z/x.pyc").write_text("compiled anew")
    key = content_key(folder)
    (folder / ".c").write_text("other")
    assert content_key(folder) != key


def test_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                   capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is, and what is said where there can be none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ACCELERATOR_CACHE", raising=False)
    assert cache_dir() == tmp_path / ".cache/accelerator-pcie"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg/accelerator-pcie"
    monkeypatch.setenv("ACCELERATOR_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ACCELERATOR_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(SystemExit, match="cannot be made; ACCELERATOR_CACHE names another"):
        cache_dir()
    with pytest.raises(SystemExit, match="cannot be written"):
        make_folder(tmp_path / "file/out")


def test_link(tmp_path: Path) -> None:
    """A link that is there leads elsewhere then, and a folder is not replaced."""
    (tmp_path / "one").mkdir()
    for target in ("one", "two"):
        link(Path(target), tmp_path / "below/link")
        assert os.readlink(tmp_path / "below/link") == target
    with pytest.raises(OSError, match="one"):
        link(Path("two"), tmp_path / "one")
    assert sorted(os.listdir(tmp_path)) == ["below", "one"]


HOLDS = """
from builds.cache import locked
from builds.commands import do
with locked("qemu"):
    do("sh", "-c", "echo $$; exec sleep 1000")
"""
WANTS = """
from builds.cache import locked
with locked("qemu"):
    print("mine", flush=True)
"""


def test_lock(tmp_path: Path) -> None:
    """One at a time. What a build that was killed has started holds the lock as long as it runs:
    it still writes where the next one would. Scripts in bash wait for the same lock."""
    env = {"ACCELERATOR_CACHE": str(tmp_path)}
    log, other, bash = (tmp_path / name for name in ("log", "other", "bash"))
    first = start(*in_python(HOLDS), out=log, env=env)
    waiting = []
    try:
        wait_until("the first has it", lambda: log.read_text().endswith("\n"))
        first.kill()
        first.wait()
        waiting = [start(*in_python(WANTS), out=other, env=env),
                   start("bash", "-c", ". scripts/lib.sh; lock_cache qemu; echo mine", out=bash,
                         env=env)]
        wait_until("they wait", lambda: all("another process builds qemu" in said.read_text()
                                            for said in (other, bash)))
        assert "mine" not in other.read_text() + bash.read_text()
    finally:
        os.kill(int(log.read_text()), signal.SIGTERM)
        assert [each.wait(30) for each in waiting] == [0, 0]
    assert other.read_text().endswith("mine\n")
    assert bash.read_text().endswith("mine\n")


LONG = """
from pathlib import Path
from builds.commands import Log
from builds.program import run
def main(words):
    folder = Path(words[0])
    try:
        (folder / "work").mkdir()
        Log(folder / "log").run("a step", "sh", "-c",
                                f"echo $$ >{folder}/pid.part; mv {folder}/pid.part {folder}/pid; "
                                "exec sleep 1000")
    finally:
        (folder / "work").rmdir()
run("long.sh", main)
"""


@SIGNALS
def test_told_to_end(number: signal.Signals, tmp_path: Path) -> None:
    """A build ends what it has started and cleans up, and then by that signal."""
    build = start(*in_python(LONG), tmp_path, out=tmp_path / "said")
    try:
        wait_until("the step begins", (tmp_path / "pid").is_file,
                   is_over=lambda: build.poll() is not None)
        build.send_signal(number)
        assert build.wait(30) == -number
    finally:
        build.kill()
        build.wait()
        print((tmp_path / "said").read_text())
    assert is_over(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "work").exists()
    assert (tmp_path / "said").read_text() == ""


def test_ignored_signal(tmp_path: Path) -> None:
    """One that is ignored where a build is started, as by nohup, does not end it."""
    text = """
import os, signal
from builds.program import run
def main(_):
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on")
run("long.sh", main)
"""
    assert run(*DEFAULT_SIGNALS, "env", "--ignore-signal=HUP", *in_python(text)) == "goes on\n"


def test_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A step that fails has its end shown, and says where the rest is."""
    log = Log(tmp_path / "log")
    log.run("a good step", "echo", "all", "is well")
    assert log.file.read_text() == "\n== a good step\n== echo all is well\nall is well\n"
    with pytest.raises(SystemExit, match=f"step failed with status 3; the whole log is {log.file}"):
        log.run("a bad step", "sh", "-c", "seq 100; echo oops >&2; exit 3")
    shown = capfd.readouterr().err.splitlines()
    assert (len(shown), shown[-1]) == (40, "oops")
    with pytest.raises(SystemExit, match="failed with status 127"):
        log.run("a step", "/no/such/program")
    assert "/no/such/program: No such file" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="failed with status 137"):
        log.run("a step", "sh", "-c", "kill -KILL $$")


def test_piped(tmp_path: Path) -> None:
    """Either program may fail."""
    with (tmp_path / "out").open("wb") as out:
        assert piped(["echo", "text"], ["tr", "t", "T"], out=out) == 0
    assert (tmp_path / "out").read_text() == "TexT\n"
    assert piped(["sh", "-c", "exit 2"], ["true"]) != 0
    assert piped(["true"], ["sh", "-c", "exit 3"]) == 3


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Options are taken in order; what is none is refused."""
    seen: list[tuple[str, ...]] = []

    def taken(*words: str) -> list[tuple[str, ...]]:
        seen.clear()
        take(words, lambda: "usage: it\n", {"--out": lambda value: seen.append(("--out", value))},
             {"--keep": lambda: seen.append(("--keep",))})
        return seen

    assert taken("--out", "--keep", "--keep", "--out", "a b") == [
        ("--out", "--keep"), ("--keep",), ("--out", "a b")]
    for words, said in ((["--none"], "unknown option --none; see --help"),
                        (["--out=a"], "unknown option --out=a; see --help"),
                        (["word"], "unknown option word; see --help"),
                        (["--out"], "--out needs a value; see --help")):
        with pytest.raises(SystemExit, match=said):
            taken(*words)
    with pytest.raises(SystemExit) as ended:
        taken("--keep", "--help", "--none")
    assert (ended.value.code, capsys.readouterr().out) == (None, "usage: it\n")


# It installs Python, and says so.
APT = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case " $* " in *' install '*) ln -s "$PYTHON" "$0"/../python3 ;; esac
"""


@pytest.mark.parametrize("name", ["build-guest.sh", "build-qemus.sh"])
def test_without_python(name: str, tmp_path: Path) -> None:
    """A fresh Debian has no Python. Root gets it; who may not install it is told in a sentence what
    to type."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("bash", "cat", "dirname", "basename", "env", "grep", "ln", "sh", "uname"):
        where = shutil.which(program)
        assert where
        (folder / program).symlink_to(where)
    script(folder / "dpkg-query", "#!/bin/sh\nexit 1\n")
    script(folder / "apt-get", APT.replace('"$0"/..', f"'{folder}'"))
    # What is left where scripts/lib.sh looks, too, is not Python.
    env = {"PATH": str(folder), "LOG": str(tmp_path / "log"), "PYTHON": sys.executable}
    status, said = status_of(ROOT / "scripts" / name, "--help", env=env)
    if os.geteuid():
        assert status == 1
        assert said.endswith("error: missing packages: python3; install them with: sudo apt-get "
                             "install python3\n")
        return
    assert status == 0
    assert f"[{name}] installing packages: python3\nusage: scripts/{name}" in said
    assert "install python3" in (tmp_path / "log").read_text()
