#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: page.py [--pictures DIR] SMALL LARGE

The pages that `accelerator-trace html` makes of records of 10 and of 1,000,000 transactions
(trace/examples/generate.rs), in Debian's Chromium: opened, zoomed, filtered, a transaction
clicked. With --pictures DIR also PNGs of the large one."""

import argparse
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

# What a page may take: until it can be used, and for an answer to a click or the wheel.
OPEN_SECONDS = 30.0
ANSWER_SECONDS = 10.0
# Resident memory of all processes of the browser, in MiB.
MOST_MEMORY = 2048
# As many transactions are drawn one by one (page.js).
MOST_BARS = 2000


def check(what: bool, text: str) -> None:
    """Ends the test with a sentence."""
    if not what:
        sys.exit(f"page.py: {text}")


def memory_mib(parent: int) -> int:
    """Resident memory of what a process has started, and of what that has started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of a program may have blanks and parentheses in it.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    pages, look = 0, [parent]
    while look:
        for child in children.get(look.pop(), []):
            look.append(child)
            try:
                pages += int(Path(f"/proc/{child}/statm").read_text(encoding="utf-8").split()[1])
            except OSError:
                continue
    return pages * resource.getpagesize() >> 20


class Report:
    """A page, and what a person does with it."""

    def __init__(self, browser: Browser, file: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(viewport={"width": 1280, "height": 900},
                                           device_scale_factor=1)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.complaints.append(f"error: {e}"))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.set_default_timeout(ANSWER_SECONDS * 1000)
        self.url = file.resolve().as_uri()
        begin = time.monotonic()
        self.page.goto(self.url, timeout=OPEN_SECONDS * 1000)
        self.page.wait_for_selector("body[data-ready=true]", timeout=OPEN_SECONDS * 1000)
        self.seconds = time.monotonic() - begin
        check(self.seconds <= OPEN_SECONDS, f"{file} was there after {self.seconds:.1f} s")
        self.slowest = 0.0

    def view(self) -> dict[str, str]:
        """What is in view."""
        data = self.page.locator("#view").evaluate("view => ({...view.dataset})")
        return {str(name): str(value) for name, value in data.items()}

    def span(self) -> float:
        """Nanoseconds in view."""
        view = self.view()
        return float(view["to"]) - float(view["from"])

    @contextmanager
    def answer(self) -> Iterator[None]:
        """Waits until the view is another one."""
        before = self.view()
        begin = time.monotonic()
        yield
        self.page.wait_for_function(
            "before => JSON.stringify({...document.getElementById('view').dataset}) !== before",
            arg=self.page.evaluate("x => JSON.stringify(x)", before))
        self.slowest = max(self.slowest, time.monotonic() - begin)
        check(self.slowest <= ANSWER_SECONDS, f"an answer took {self.slowest:.1f} s")

    def wheel(self, x: float, y: float) -> None:
        """Zooms in at a place of the time line, by the mouse."""
        self.page.mouse.move(x, y)
        with self.answer():
            self.page.mouse.wheel(0, -400)

    def plot(self) -> tuple[float, float, float, float]:
        """The rectangle that transactions are drawn in: left, top, width, height."""
        box = self.page.locator("#timeline .nsewdrag").bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"], box["height"]

    def hover(self, x: float, y: float) -> None:
        """Moves the mouse there, and waits until plotly.js knows what it is over, as it has to
        before a click."""
        self.page.mouse.move(5, 5)
        label = "#timeline .hoverlayer .hovertext"
        self.page.wait_for_selector(label, state="detached")
        self.page.mouse.move(x, y)
        self.page.wait_for_selector(label, state="attached")

    def click_bar(self, which: int) -> None:
        """Clicks on the transaction that was drawn at that place."""
        box = self.page.locator("#timeline .bars path").nth(which).bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = self.page.locator("#details").get_attribute("data-number")
        self.hover(x, y)
        self.page.mouse.click(x, y)
        self.page.wait_for_function(
            "before => (document.getElementById('details').dataset.number ?? null) !== before",
            arg=before)

    def fields(self) -> dict[str, str]:
        """The fields of the transaction that was chosen."""
        rows = self.page.locator("#details tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
        return {str(name): str(value) for name, value in rows}

    def end(self) -> None:
        """Nothing was complained of, and nothing was asked of any network."""
        check(not self.complaints, f"the page says: {self.complaints}")
        check(self.page.locator("#problem").is_hidden(), "the page shows a problem")
        foreign = [url for url in self.requests if url != self.url and not url.startswith("blob:")
                   and not url.startswith("data:")]
        check(not foreign, f"the page asks for {foreign}")
        self.context.close()


def small(browser: Browser, file: Path) -> None:
    """Ten transactions, one of which is outstanding."""
    report = Report(browser, file)
    page = report.page
    view = report.view()
    check(view["visible"] == "10" and view["mode"] == "bars", f"the page of 10 shows {view}")
    check(page.locator("#timeline .bars path").count() == 10, "not all 10 are drawn")

    # The table of outstanding ones leads to the one that the RTL has.
    check(page.inner_text("#outstanding-title") == "Outstanding at the end: 1",
          page.inner_text("#outstanding-title"))
    row = page.locator("#outstanding tr.link")
    check("the RTL has it" in row.inner_text(), row.inner_text())
    with report.answer():
        row.click()
    fields = report.fields()
    check((fields["number"], fields["outcome"]) == ("#10", "outstanding"), f"fields {fields}")

    # The ten longest: the fourth burst first.
    with report.answer():
        page.locator("#longest tr.link").first.click()
    fields = report.fields()
    check((fields["kind"], fields["clocks"], fields["address"], fields["outcome"]) ==
          ("dma_read", "20", "0x10003000", "ok"), f"fields {fields}")

    # From all of it down to clocks, by the mouse.
    with report.answer():
        page.click("#whole")
    before = report.span()
    left, top, width, height = report.plot()
    for _ in range(40):
        if report.span() <= 100:
            break
        report.wheel(left + width / 2, top + height / 2)
    check(report.span() <= 100 < before, f"zoomed to {report.span()} ns of {before}")
    with report.answer():
        page.locator("#timeline .nsewdrag").dblclick()
    check(report.span() == before, "a double click does not show the whole record")

    # Kinds, and what is clicked is what is drawn.
    with report.answer():
        page.uncheck("input[data-kind=dma_read]")
    check(report.view()["visible"] == "6", f"without DMA reads it shows {report.view()}")
    with report.answer():
        page.select_option("#register", label="TAIL")
    check(report.view()["visible"] == "1", f"of TAIL it shows {report.view()}")
    report.click_bar(0)
    fields = report.fields()
    check((fields["number"], fields["kind"], fields["what"], fields["taken by the RTL at clock"]) ==
          ("#1", "mmio_write", "TAIL", "13"), f"fields {fields}")

    # The machine's time.
    page.select_option("#clock", "host")
    page.wait_for_timeout(100)
    check(0 < report.span() < 1e9, f"{report.span()} ns of the machine's time")
    report.end()
    print(f"10 transactions: open after {report.seconds:.1f} s, "
          f"answers within {report.slowest:.1f} s")


def large(browser: Browser, file: Path, pictures: Path | None) -> None:
    """A million: how many there are where they are many, and each where they are few."""
    report = Report(browser, file)
    page = report.page
    view = report.view()
    check(view["visible"] == "1000000" and view["mode"] == "density", f"the page shows {view}")
    check(page.locator("#timeline .heatmaplayer image").count() == 1, "no density is drawn")
    nodes = page.evaluate("document.querySelectorAll('*').length")
    check(nodes < 5000, f"the page has {nodes} elements")

    def picture(name: str, height: int) -> None:
        if pictures is not None:
            page.evaluate("window.scrollTo(0, 0)")
            page.screenshot(path=pictures / f"{name}.png",
                            clip={"x": 0, "y": 0, "width": 1280, "height": height})

    picture("report-whole", 480)
    # A click on a bin, then the wheel, until the clocks can be told apart.
    whole = report.span()
    left, top, width, height = report.plot()
    # Near the beginning of the record, where no pause is.
    report.hover(left + width / 20, top + height / 2)
    with report.answer():
        page.mouse.click(left + width / 20, top + height / 2)
    check(report.span() < whole / 10, f"a click on a bin shows {report.span()} ns of {whole}")
    while report.view()["mode"] == "density":
        report.wheel(left + width / 2, top + height / 2)
    view = report.view()
    check(0 < int(view["visible"]) <= MOST_BARS, f"one by one it shows {view}")
    check(page.locator("#timeline .bars path").count() == int(view["visible"]),
          "not all in view are drawn")
    while report.span() > 2500:
        # At one of them, not at a pause.
        bars = page.locator("#timeline .bars path")
        box = bars.nth(bars.count() // 2).bounding_box()
        assert box is not None
        report.wheel(min(max(box["x"], left), left + width - 1), top + height / 2)
    check("clock" in (page.locator("#timeline .xtick").first.text_content() or ""),
          "no clocks at the axis")
    report.click_bar(1)
    number = page.locator("#details").get_attribute("data-number")
    fields = report.fields()
    check(fields["number"] == f"#{number}", f"fields {fields}")
    check(re.fullmatch(r"[\d,]+", fields["clocks"]) is not None, f"fields {fields}")
    picture("report-clocks", 880)

    # What a number leads to is that transaction.
    page.fill("#number", "500000")
    with report.answer():
        page.click("#go")
    check(report.fields()["number"] == "#500000", f"500000 leads to {report.fields()}")

    filters(report)
    used = memory_mib(os.getpid())
    check(used <= MOST_MEMORY, f"the browser has {used} MiB")
    report.end()
    print(f"1,000,000 transactions: open after {report.seconds:.1f} s, answers within "
          f"{report.slowest:.1f} s, {used} MiB with all processes of the browser, {nodes} elements")


def filters(report: Report) -> None:
    """Of a million: what was refused, which is one read of a thousand, and a register."""
    page = report.page
    with report.answer():
        page.click("#whole")
    with report.answer():
        page.select_option("#outcome", label="refused")
    view = report.view()
    check(view["mode"] == "bars" and view["visible"] == "90", f"refused were {view}")
    with report.answer():
        page.select_option("#outcome", label="all")
    for kind in ("dma_read", "dma_write"):
        with report.answer():
            page.uncheck(f"input[data-kind={kind}]")
    with report.answer():
        page.select_option("#register", label="STATUS")
    check(report.view()["visible"] == "90909", f"of STATUS it shows {report.view()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("pages", nargs=2, type=Path)
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    check(chromium is not None, "Chromium is not there")
    # With its sandbox but for root, whom Chromium refuses with it, and who it is in containers
    # and in CI. All that is opened is what accelerator-trace has just written.
    sandbox = os.geteuid() != 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, chromium_sandbox=sandbox, args=["--disable-gpu"],
            timeout=60_000)
        print(f"Chromium {browser.version}")
        small(browser, args.pages[0])
        large(browser, args.pages[1], args.pictures)
        browser.close()


if __name__ == "__main__":
    main()
