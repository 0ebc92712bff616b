# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/bench.py makes of samples: tables, targets and the history of ratios. Nothing is
measured here."""

import argparse
import copy
import json
import os
import subprocess
import sys

import pytest

SCRIPTS = os.path.join(os.path.dirname(__file__), "..", "..", "scripts")
sys.path.insert(0, SCRIPTS)

import bench  # noqa: E402
import bench_ratios  # noqa: E402


def samples(*values, part=0, yardstick=10.0, p99=None):
    return [{"value": v, "p99": p99, "min": None, "yardstick": yardstick, "part": part}
            for v in values]


def everything():
    """A sample of each figure, and for those of the tests below the ones that they need."""
    result = {name: samples(50.0, 50.0, p99=60.0) for name in bench.FIGURES}
    result[bench.YARDSTICK] = samples(10.0, 10.0)
    return result


def figure(name, measured):
    return {f["name"]: f for f in bench.summary(measured)}[name]


def result(measured, **machine):
    about = {"cpu": "one", "cpus": 2, "kernel": "k", "accelerator": "tcg", "qemu": "q",
             "verilator": "v", "commit": "c", "date": "today", "forced": False, "weight": True,
             "count": 2000} | machine
    return {"machine": about, "figures": bench.summary(measured)}


# ---- what the guest says ----


@pytest.fixture(name="runner")
def _runner():
    runner = bench.Bench(argparse.Namespace())
    yield runner
    runner.close()


def test_a_peer_is_the_same_in_every_vm(runner):
    for prefix in ("", "shm_"):
        runner.take("mmio_read repeat=0 n=4 min=1000 median=2000 p99=3000 max=4000", prefix)
        runner.take("vfio_user_mmio_read repeat=0 n=4 min=1 median=5000 p99=6 max=7", prefix)
        runner.take("edu_mmio_writes_per_s repeat=0 n=4 value=7", prefix)
    assert {name: len(taken) for name, taken in runner.samples.items()} == {
        "mmio_read": 1, "shm_mmio_read": 1, "vfio_user_mmio_read": 2, "edu_mmio_writes_per_s": 2}
    assert runner.samples["shm_mmio_read"][0]["value"] == 2.0
    assert runner.samples["vfio_user_mmio_read"][0]["value"] == 5.0


def test_a_part_marks_its_samples(runner):
    def yardstick():
        runner.add(bench.YARDSTICK, 10.0)
        runner.last_yardstick = [10.0]

    runner.yardstick = yardstick
    runner.part(runner.add, "mmio_read", 1.0)
    runner.part(runner.add, "mmio_read", 2.0)
    assert [(s["value"], s["part"]) for s in runner.samples["mmio_read"]] == [(1.0, 0), (2.0, 1)]


def test_every_row_has_to_be_there():
    for gone in ("vfio_user_mmio_read", "vfio_user_msix_spinning", "edu_mmio_writes_per_s"):
        measured = everything()
        assert bench.check(result(measured), smoke=True) == []
        del measured[gone]
        assert bench.check(result(measured), smoke=True) == [f"{gone} is missing"]


# ---- targets ----


def test_relations_are_of_one_vm():
    # The peer was slower in the other VM, which does not matter.
    peer = samples(100.0, 100.0, part=1) + samples(20.0, 40.0, part=2)
    assert bench_ratios.relation(samples(2.0, 2.0, part=2), peer) == [0.1, 0.05]
    # Of two VMs: one repeat with another.
    assert bench_ratios.relation(samples(2.0, 4.0, part=3), samples(4.0, 4.0, part=4)) == [0.5, 1]
    # From a result that knows no parts.
    old = [{"value": 3.0}]
    assert bench_ratios.relation(old, [{"value": 6.0}]) == [0.5]
    assert bench_ratios.relation(old, []) == []


@pytest.mark.parametrize(("read", "peer", "verdicts"), [
    (2.9, 20.0, [True, True]), (3.1, 20.0, [True, False]), (6.0, 60.0, [False, True]),
    (6.0, 20.0, [False, False])])
def test_targets_of_a_read(read, peer, verdicts):
    measured = everything()
    measured["shm_mmio_read"] = samples(read)
    measured["vfio_user_mmio_read"] = samples(peer)
    f = figure("shm_mmio_read", measured)
    assert [t["met"] for t in f["targets"]] == verdicts
    assert bench.met(f) == all(verdicts)
    assert f["targets"][1]["text"] == f"≤ 0.15 × vfio-user ({read / peer:.2f})"


@pytest.mark.parametrize(("writes", "edu", "verdicts"), [
    (2.1e6, 3.0e6, [True, True]), (2.1e6, 3.1e6, [True, False]), (1.9e6, 2e6, [False, True])])
def test_targets_of_writes(writes, edu, verdicts):
    measured = everything()
    measured["shm_mmio_writes_per_s"] = samples(writes)
    measured["edu_mmio_writes_per_s"] = samples(edu)
    f = figure("shm_mmio_writes_per_s", measured)
    assert [t["met"] for t in f["targets"]] == verdicts
    assert f["targets"][1]["text"].startswith("≥ 0.7 × edu (0.")


def test_a_target_without_its_base_is_none():
    measured = everything()
    del measured["vfio_user_mmio_read"]
    f = figure("shm_mmio_read", measured)
    assert [t["text"] for t in f["targets"]] == ["≤ 5"]


def test_every_base_has_a_name():
    for _, _, targets, *_ in bench.FIGURES.values():
        for target in targets if isinstance(targets, list) else [targets] if targets else []:
            assert len(target) == 2 or target[2] in bench.BASES


def test_tables_say_met_and_missed():
    measured = everything()
    measured["shm_mmio_read"] = samples(3.1)
    measured["vfio_user_mmio_read"] = samples(20.0)
    whole = result(measured)
    line = next(text for text in bench.markdown(whole).split("\n")
                if text.startswith("| MMIO read, 4 bytes, shared memory |"))
    assert "| ≤ 5; ≤ 0.15 × vfio-user (0.15) | met; **missed** |" in line
    line = next(text for text in bench.text_table(whole).split("\n")
                if text.startswith("MMIO read, 4 bytes, shared memory"))
    assert line.endswith("≤ 5 met; ≤ 0.15 × vfio-user (0.15) MISSED")
    assert "#d66" in bench.svg(whole)


# ---- side by side ----


def test_columns():
    measured = everything()
    measured["mmio_read"] = samples(40.0, 40.0)
    measured["shm_mmio_read"] = samples(3.0, 3.0, part=2)
    measured["vfio_user_mmio_read"] = samples(99.0, 99.0) + samples(30.0, 20.0, part=2)
    measured["by_vfio_user_mmio_read"] = samples(26.0, 26.0, part=3)
    measured["edu_mmio_read"] = samples(2.0, 2.0, part=2)
    heads, *rows = bench.side_by_side(bench.summary(measured))
    assert len(rows) == len(bench_ratios.SIDES)
    read = dict(zip(heads, rows[0], strict=True))
    assert read == {
        "figure": "MMIO read, 4 bytes", "unit": "us", "ZeroMQ, ipc": "40.0",
        "shared memory": "3.0", "vfio-user": "64.5", "our RTL by vfio-user": "26.0",
        "QEMU's edu": "2.0",
        "shared memory / vfio-user": "0.125", "shared memory / edu": "1.500"}
    doorbell = dict(zip(heads, rows[2], strict=True))
    assert (doorbell["vfio-user"], doorbell["QEMU's edu"]) == ("50.0, p99 60.0", "")
    table = bench.markdown(result(measured))
    assert "| MMIO read, 4 bytes | µs | 40.0 | 3.0 | 64.5 | 26.0 | 2.0 | 0.125 | 1.500 |" in table


# ---- history ----


def entry(median, low=None, high=None, repeats=5, less_is_better=True):
    return {"median": median, "low": median if low is None else low,
            "high": median if high is None else high, "repeats": repeats,
            "less_is_better": less_is_better}


def names(found):
    return [(f["name"], f["better"]) for f in found]


def test_ratios():
    measured = {bench.YARDSTICK: samples(10.0), "doorbell": samples(20.0, 30.0, 40.0),
                "nic_to_rtl_64": samples(5.0, yardstick=3.0), "clocks_ratio": samples(0.9, 1.0),
                "shm_doorbell": samples(2.0, 2.0, 2.0, part=1, yardstick=5.0),
                "vfio_user_doorbell": samples(20.0, 10.0, 5.0, part=1)}
    found = bench_ratios.ratios(bench.summary(measured), bench.YARDSTICK)
    # Times in yardsticks, rates for each of them, and what is a ratio as it is.
    assert found["doorbell"] == entry(3.0, 2.0, 4.0, 3)
    assert found["nic_to_rtl_64"] == entry(15.0, repeats=1, less_is_better=False)
    assert found["clocks_ratio"] == entry(0.95, 0.9, 1.0, 2, less_is_better=False)
    assert found["shm_doorbell / vfio_user_doorbell"] == entry(0.2, 0.1, 0.4, 3)
    assert found["shm_doorbell / doorbell"] == entry(0.0666667, 0.05, 0.1, 3)
    assert bench.YARDSTICK not in found


def test_spread():
    # The repeats of this run, those of the earlier ones in the middle, or what is between runs.
    assert bench_ratios.spread(entry(5, 4, 7), [entry(5, 5, 6)]) == 3
    earlier = [entry(5, 5, 6), entry(5, 3, 7), entry(5, 4, 6)]
    assert bench_ratios.spread(entry(5, 5, 5.5), earlier) == 2
    assert bench_ratios.spread(entry(5, 5, 5.5), [entry(2), entry(9)]) == 7
    # One run, measured once: nobody knows.
    assert bench_ratios.spread(entry(5, repeats=1), [entry(4, repeats=1)]) is None
    assert bench_ratios.spread(entry(5, repeats=1), [entry(4, repeats=1)] * 2) == 0


def test_moved_by_more_than_the_spread():
    earlier = [{"a": entry(10, 9, 11)}, {"a": entry(10, 9, 11)}]
    assert bench_ratios.moved({"a": entry(12, 11, 12)}, earlier) == []
    assert names(bench_ratios.moved({"a": entry(12.1, 12, 12.2)}, earlier)) == [("a", False)]
    assert names(bench_ratios.moved({"a": entry(7.9, 7.8, 8)}, earlier)) == [("a", True)]
    # Its own repeats lie far apart: it says nothing.
    assert bench_ratios.moved({"a": entry(13, 10, 14)}, earlier) == []
    # So do the earlier runs.
    apart = [{"a": entry(10)}, {"a": entry(14)}]
    assert bench_ratios.moved({"a": entry(15)}, apart) == []
    assert names(bench_ratios.moved({"a": entry(17)}, apart)) == [("a", False)]


def test_more_is_better_for_a_rate():
    earlier = [{"a": entry(10, 9, 11, less_is_better=False)}]
    for now, better in ((20, True), (2, False)):
        found = bench_ratios.moved({"a": entry(now, less_is_better=False)}, earlier)
        assert names(found) == [("a", better)]


def test_what_is_new_or_gone_has_not_moved():
    assert bench_ratios.moved({"a": entry(1)}, []) == []
    assert bench_ratios.moved({"a": entry(1)}, [{"b": entry(9)}]) == []


def test_worse_comes_first_then_the_widest():
    earlier = [{name: entry(10, 9.5, 10.5) for name in "abcd"}]
    now = {"a": entry(1), "b": entry(12), "c": entry(20), "d": entry(10)}
    assert names(bench_ratios.moved(now, earlier)) == [("c", False), ("b", False), ("a", True)]


def test_only_the_latest_runs_count():
    earlier = [{"a": entry(100)}] + [{"a": entry(10)}] * bench_ratios.LATEST
    assert names(bench_ratios.moved({"a": entry(11)}, earlier)) == [("a", False)]
    assert bench_ratios.moved({"a": entry(11)}, earlier[:-1]) == []


def add(path, measured, **machine):
    return bench_ratios.append(result(measured, **machine), str(path), bench.YARDSTICK)


def test_history(tmp_path):
    path = tmp_path / "history"
    measured = everything()
    measured["shm_mmio_read"] = samples(3.0, 3.0)
    measured["vfio_user_mmio_read"] = samples(30.0, 31.0)
    assert add(path, measured) == [f"{path}: 0 earlier runs like this one"]
    assert add(path, measured)[1:] == ["no ratio moved by more than its spread"]
    slow = copy.deepcopy(measured)
    slow["shm_mmio_read"] = samples(6.0, 6.0)
    said = add(path, slow)
    assert said[0] == f"{path}: 2 earlier runs like this one"
    assert any(line.startswith("WORSE: shm_mmio_read / vfio_user_mmio_read was 0.09839 (2 runs), "
                               "is 0.1968, spread 0.00") for line in said)
    assert any(line.startswith("WORSE: shm_mmio_read was 0.3 ") for line in said)
    # Nothing else did.
    assert all("shm_mmio_read" in line for line in said[1:])
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert len(records) == 3
    assert records[2]["ratios"]["shm_mmio_read"]["median"] == 0.6
    assert records[2]["machine"] == {"cpu": "one", "cpus": 2, "accelerator": "tcg",
                                     "weight": True, "count": 2000}


def test_history_of_others(tmp_path):
    path = tmp_path / "history"
    measured = everything()
    slow = copy.deepcopy(measured)
    slow["doorbell"] = samples(90.0, 90.0)
    add(path, slow, cpu="another")
    add(path, slow, weight=False)
    add(path, slow, count=20)
    # A busy machine is told of the quiet runs, and is no measure for them.
    add(path, slow, forced=True)
    assert add(path, measured) == [
        f"{path}: 0 earlier runs like this one",
        "not compared: 3 of another machine or with other options, 1 of a busy machine"]
    said = add(path, slow, forced=True)
    assert said[0] == f"{path}: 1 earlier runs like this one"
    assert any(line.startswith("WORSE: doorbell was") for line in said)


@pytest.mark.parametrize("damage", ["{}\n", "nothing\n", "[]\n", '{"ratios": {"a": 1}}\n', "{"])
def test_a_damaged_history_is_left_alone(tmp_path, damage):
    path = tmp_path / "history"
    add(path, everything())
    text = path.read_text(encoding="utf-8") + damage
    path.write_text(text, encoding="utf-8")
    with pytest.raises(bench_ratios.BadHistory, match=r"line 2 of|in the middle of line 2"):
        add(path, everything())
    assert path.read_text(encoding="utf-8") == text
    assert "line 2" in bench_ratios.writable(str(path))


def test_a_place_that_cannot_be_written(tmp_path):
    assert bench_ratios.writable(str(tmp_path / "history")) is None
    assert "no folder" in bench_ratios.writable(str(tmp_path / "no" / "history"))
    assert bench_ratios.writable(str(tmp_path)) is not None


def test_history_of_a_result_that_is_there(tmp_path):
    saved = tmp_path / "bench.json"
    saved.write_text(json.dumps(result(everything())) + "\n", encoding="utf-8")
    command = [sys.executable, os.path.join(SCRIPTS, "bench.py"), "history", str(saved),
               str(tmp_path / "history")]
    for earlier in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert f"{earlier} earlier runs like this one" in done.stdout
    # No half a line, and a reason, where the file is none of ours.
    command[-1] = str(saved)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "is no run of the benchmark" in done.stderr
