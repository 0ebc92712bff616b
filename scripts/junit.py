#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: junit.py FILE LOGS <RESULTS

Writes a report of scripts/test.sh as JUnit XML. RESULTS has a line for each suite: its name, how
it ended (passed, failed, stopped, skipped), its seconds and a sentence, with tabs between them.
LOGS/NAME.failure has what is to be shown of one that did not pass. FILE is replaced as a whole."""

import os
import re
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

# What XML 1.0 does not allow (section 2.2, Char): a log may have anything.
NO_CHAR = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ELEMENTS = {"failed": "failure", "stopped": "error", "skipped": "skipped"}


def text_of(data: bytes) -> str:
    """The same as XML can have it."""
    return NO_CHAR.sub("\ufffd", data.decode("utf-8", "replace"))


def report(results: bytes, logs: Path) -> ET.ElementTree:
    """The report of these results."""
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", name="scripts/test.sh")
    outcomes: Counter[str] = Counter()
    total = 0
    for line in filter(None, text_of(results).split("\n")):
        name, outcome, seconds, sentence = line.split("\t")
        outcomes[outcome] += 1
        total += int(seconds)
        case = ET.SubElement(suite, "testcase", classname="scripts/test.sh", name=name,
                             time=seconds)
        if outcome in ELEMENTS:
            element = ET.SubElement(case, ELEMENTS[outcome], message=sentence)
            shown = logs / f"{name}.failure"
            if outcome != "skipped" and shown.is_file():
                element.text = text_of(shown.read_bytes())
        elif sentence:
            ET.SubElement(case, "system-out").text = sentence
    suite.attrib.update(
        tests=str(outcomes.total()), failures=str(outcomes["failed"]),
        errors=str(outcomes["stopped"]), skipped=str(outcomes["skipped"]), time=str(total),
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return ET.ElementTree(root)


def main() -> int:
    """Writes the report."""
    if len(sys.argv) != 3:
        print(__doc__)
        return int(sys.argv[1:] != ["--help"])
    file = Path(sys.argv[1])
    part = file.with_name(f"{file.name}.part")
    report(sys.stdin.buffer.read(), Path(sys.argv[2])).write(
        part, encoding="utf-8", xml_declaration=True)
    os.replace(part, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
