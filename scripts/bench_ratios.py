# SPDX-License-Identifier: MIT OR Apache-2.0
"""What travels of a benchmark's figures: ratios, and a file of those of earlier runs.

A figure is one of bench.py's: a dictionary with `name`, `unit` and `repeats`, the list of
its samples. A sample has a `value`, the `yardstick` of the part of the run in which it was
taken, and the number of that `part`.
"""

import json
import os
import statistics

# A measurement's name, with what it is measured through in front: as it is it is ZeroMQ.
SIDES = ("mmio_read", "mmio_writes_per_s", "doorbell", "msix_halted", "msix_spinning",
         "msix_pausing")
SHARED_MEMORY, VFIO_USER, EDU = "shm_", "vfio_user_", "edu_"
# What has a column beside another one, and the others that are put in relation to it.
PAIRS = (("", VFIO_USER), (SHARED_MEMORY, VFIO_USER), ("", EDU), (SHARED_MEMORY, EDU),
         (VFIO_USER, EDU), (SHARED_MEMORY, ""))
RELATIONS = [(above + side, below + side) for side in SIDES for above, below in PAIRS]
RELATIONS.append(("scale4_scale_read", "scale1_scale_read"))

LESS_IS_BETTER = ("us", "%")
# So many earlier runs are looked at.
LATEST = 10


def relation(samples, base):
    """The ratios of the samples to those of something else, repeat by repeat. Where both were
    measured in the same part, which is in turn in one VM, it is those; otherwise the first of
    the one goes with the first of the other, and so on."""
    parts = [s.get("part") for s in samples]
    together = [part for part in dict.fromkeys(parts)
                if part is not None and any(b.get("part") == part for b in base)]
    pairs = []
    for part in together:
        pairs += zip([s for s in samples if s.get("part") == part],
                     [b for b in base if b.get("part") == part], strict=False)
    return [s["value"] / b["value"]
            for s, b in pairs or zip(samples, base, strict=False) if b["value"]]


def of_yardstick(sample, unit):
    """A time in yardsticks, or what is done in one; other units are ratios themselves."""
    if unit == "us":
        return sample["value"] / sample["yardstick"]
    return sample["value"] * (sample["yardstick"] if unit in ("1/s", "MB/s") else 1)


def entry(values, unit):
    median, low, high = (float(f"{value:.6g}")
                         for value in (statistics.median(values), min(values), max(values)))
    return {"median": median, "low": low, "high": high, "repeats": len(values),
            "less_is_better": unit in LESS_IS_BETTER}


def ratios(figures, yardstick):
    """name: entry, for every figure but the yardstick itself, and for every relation."""
    there = {f["name"]: f for f in figures}
    result = {}
    for name, f in there.items():
        if name != yardstick:
            result[name] = entry([of_yardstick(s, f["unit"]) for s in f["repeats"]], f["unit"])
    for above, below in RELATIONS:
        if above in there and below in there:
            values = relation(there[above]["repeats"], there[below]["repeats"])
            if values:
                result[f"{above} / {below}"] = entry(values, there[above]["unit"])
    return result


def spread(now, earlier):
    """By how much a ratio differs without a reason: the widest of what the repeats of this run
    cover, what those of an earlier one do (the median of these), and what the medians of the
    earlier runs do. None if nothing was measured twice."""
    ranges = [e["high"] - e["low"] for e in earlier if e["repeats"] > 1]
    known = []
    if now["repeats"] > 1:
        known.append(now["high"] - now["low"])
    if ranges:
        known.append(statistics.median(ranges))
    if len(earlier) > 1:
        medians = [e["median"] for e in earlier]
        known.append(max(medians) - min(medians))
    return max(known, default=None)


def moved(now, earlier):
    """Which ratios differ from the median of the earlier runs by more than their spread, as
    dictionaries, what has become worse first and then by how many spreads. `earlier` is a list
    of what ratios() returned, the newest last."""
    found = []
    for name, is_now in now.items():
        were = [run[name] for run in earlier[-LATEST:] if name in run]
        if not were:
            continue
        width = spread(is_now, were)
        before = statistics.median(e["median"] for e in were)
        by = is_now["median"] - before
        if width is not None and abs(by) > width:
            found.append({"name": name, "now": is_now["median"], "before": before,
                          "spread": width, "runs": len(were),
                          "better": (by < 0) == is_now["less_is_better"]})
    return sorted(found, key=lambda f: (f["better"],
                                        -abs(f["now"] - f["before"]) / (f["spread"] or 1e-9)))


class BadHistory(Exception):
    """A file that is none of ours, or damaged."""


# Lines are compared if they agree in these.
LIKE = ("cpu", "cpus", "accelerator", "weight", "count")


def read_history(path):
    """The lines of a file, the oldest first; none if there is no file."""
    lines = []
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return lines
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            record = json.loads(line)
            for one in record["ratios"].values():
                one["median"], one["low"], one["high"], one["repeats"], one["less_is_better"]
            record["machine"], record["forced"]
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise BadHistory(f"line {number} of {path} is no run of the benchmark: {e!r}") from e
        lines.append(record)
    if text and not text.endswith("\n"):
        raise BadHistory(f"{path} ends in the middle of line {len(lines) + 1}")
    return lines


def record(result, yardstick):
    """The line of a result, of bench.json."""
    machine = result["machine"]
    return {"date": machine["date"], "commit": machine["commit"], "qemu": machine["qemu"],
            "forced": machine["forced"],
            "machine": {key: machine.get(key) for key in LIKE},
            "ratios": ratios(result["figures"], yardstick)}


def append(result, path, yardstick):
    """Adds a result to a file, and returns what there is to say about it, in lines."""
    lines = read_history(path)
    new = record(result, yardstick)
    like = [old for old in lines if old["machine"] == new["machine"]]
    quiet = [old for old in like if not old["forced"]]
    text = json.dumps(new, ensure_ascii=False) + "\n"
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)

    said = [f"{path}: {len(quiet)} earlier runs like this one"]
    if len(lines) > len(quiet):
        said.append(f"not compared: {len(lines) - len(like)} of another machine or with other "
                    f"options, {len(like) - len(quiet)} of a busy machine")
    found = moved(new["ratios"], [old["ratios"] for old in quiet])
    for f in found:
        said.append(f"{'better' if f['better'] else 'WORSE'}: {f['name']} was "
                    f"{f['before']:.4g} ({f['runs']} runs), is {f['now']:.4g}, "
                    f"spread {f['spread']:.2g}")
    if quiet and not found:
        said.append("no ratio moved by more than its spread")
    return said


def writable(path):
    """Why a line could not be added to a file, or None: before a run of minutes."""
    folder = os.path.dirname(path) or "."
    try:
        read_history(path)
    except (BadHistory, OSError, UnicodeDecodeError) as e:
        return str(e)
    if os.path.exists(path):
        return None if os.access(path, os.W_OK) else f"{path} cannot be written"
    return None if os.access(folder, os.W_OK) else f"{folder} is no folder that can be written"
