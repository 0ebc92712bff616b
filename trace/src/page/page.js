// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the page of a record does. `meta` and a column of numbers for each field of a transaction
// are in the page; transactions are in the order of sources, and of each as they began.
"use strict";

(() => {
  // As many transactions are drawn one by one; more of them as how many there are in a bin.
  const MOST_BARS = 2000;
  const BINS = 600;
  const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2",
    "#17becf", "#bcbd22", "#7f7f7f", "#393b79", "#637939", "#843c39", "#000000"];
  const ARRAYS = { f64: Float64Array, u32: Uint32Array, u16: Uint16Array, u8: Uint8Array };

  const $ = (id) => document.getElementById(id);
  const meta = JSON.parse($("meta").textContent);
  const data = {};
  const count = meta.count;

  function problem(text) {
    $("problem").textContent = text;
    $("problem").hidden = false;
  }
  window.addEventListener("error", (event) => problem(`This page has an error: ${event.message}`));
  window.addEventListener("unhandledrejection", (event) => problem(`This page has an error: ${event.reason}`));

  // ---- the columns ----------------------------------------------------------------

  async function column(spec) {
    const element = $(`column-${spec.name}`);
    const text = atob(element.textContent);
    element.remove();
    const packed = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const values = new ARRAYS[spec.type](await new Response(stream).arrayBuffer());
    if (values.length !== count) throw new Error(`column ${spec.name} has ${values.length} values`);
    if (spec.delta) for (let i = 1; i < count; i++) values[i] += values[i - 1];
    return values;
  }

  // ---- times: begin and end of each in nanoseconds of the axis, and per source -------

  // Of each source: its first transaction, the one after its last, and its period in ns.
  const sources = meta.sources.map((s) => ({ ...s, period: s.period_ps / 1000 }));
  const axes = {};

  function axis(name) {
    if (axes[name]) return axes[name];
    const begin = new Float64Array(count);
    const end = new Float64Array(count);
    // The last end of all up to here: where to begin to look for what lasts into a view.
    const until = new Float64Array(count);
    let last = 0;
    for (const source of sources) {
      let most = 0;
      for (let i = source.first; i < source.last; i++) {
        if (name === "simulated") {
          begin[i] = data.begin[i] * source.period;
          end[i] = (data.begin[i] + data.clocks[i]) * source.period;
        } else {
          begin[i] = data.host[i];
          end[i] = data.host[i] + data.wait[i];
        }
        most = Math.max(most, end[i]);
        until[i] = most;
      }
      last = Math.max(last, most);
    }
    let first = last;
    for (const source of sources) {
      if (source.first < source.last) first = Math.min(first, begin[source.first]);
    }
    // Something to see at both ends.
    const margin = Math.max((last - first) / 50, 10);
    axes[name] = { name, begin, end, until, from: first - margin, to: last + margin };
    return axes[name];
  }

  // The first of [low, high) whose value is `bound` or more.
  function search(values, low, high, bound) {
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < bound) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // ---- rows -------------------------------------------------------------------------

  // As tall as its lanes need, within bounds. `order` has the tracks from top to bottom.
  const order = meta.tracks.map((_, i) => i).sort((a, b) =>
    meta.tracks[a].source - meta.tracks[b].source || meta.tracks[a].order - meta.tracks[b].order);
  const rows = [];
  let height = 0;
  for (const i of order) {
    const { lanes } = meta.tracks[i];
    const tall = 1 + 0.4 * (Math.min(lanes, 8) - 1);
    rows[i] = { top: height, tall, lane: tall / lanes };
    height += tall;
  }
  const rowName = (track) => (sources.length > 1 ? `${sources[track.source].name}: ` : "") + track.name;

  // ---- filters ----------------------------------------------------------------------

  const kinds = meta.kinds.map((name, i) => ({ name, colour: COLOURS[i], on: true }));
  let mask;

  function filter() {
    const [place, source, outcome] = ["register", "source", "outcome"].map((id) => Number($(id).value));
    for (let i = 0; i < count; i++) {
      mask[i] = kinds[data.kind[i]].on && (place < 0 || data.place[i] === place) &&
        (source < 0 || data.source[i] === source) && (outcome < 0 || data.outcome[i] === outcome) ? 1 : 0;
    }
    draw();
  }

  function choices(id, names, used) {
    const select = $(id);
    select.append(new Option("all", "-1"));
    names.forEach((name, i) => { if (used(i)) select.append(new Option(name, String(i))); });
    select.addEventListener("change", filter);
  }

  // ---- the time line ------------------------------------------------------------------

  let time = null;
  let from = 0;
  let to = 0;
  let chosen = -1;

  const number = (value, digits = 0) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

  function unitOf(ns) {
    for (const [size, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) if (ns >= size) return [size, name];
    return [1, "ns"];
  }

  function duration(ns) {
    const [size, name] = unitOf(ns);
    return `${number(ns / size, 3)} ${name}`;
  }

  function ticks() {
    const rough = (to - from) / 7;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const [size, name] = unitOf(step);
    const digits = Math.max(0, -Math.floor(Math.log10(step / size) + 1e-9));
    const values = [];
    for (let n = Math.ceil(from / step); n * step <= to; n++) if (n >= 0) values.push(Math.abs(n * step));
    const period = sources.length && sources.every((s) => s.period === sources[0].period) ? sources[0].period : 0;
    const clock = time.name === "simulated" && period
      ? (v) => `<br>clock ${number(Math.round(v / period))}` : () => "";
    return { values, texts: values.map((v) => `${number(v / size, digits)} ${name}${clock(v)}`) };
  }

  // Calls `each` for every transaction in view that passes the filters.
  function inView(each) {
    for (const source of sources) {
      const begin = search(time.until, source.first, source.last, from);
      for (let i = begin; i < source.last && time.begin[i] <= to; i++) {
        if (mask[i] && time.end[i] >= from) each(i);
      }
    }
  }

  // How wide one is at least: a clock, and something that can be clicked.
  const shortest = (i) => Math.max(time.name === "simulated" ? sources[data.source[i]].period : 0, (to - from) * 0.0015);

  function bars(found) {
    const traces = kinds.map((kind) => ({
      type: "bar", orientation: "h", name: kind.name, showlegend: false, base: [], x: [], y: [], width: [],
      customdata: [], marker: { color: kind.colour, line: { width: 0 } }, hoverinfo: "text", hovertext: [],
    }));
    for (const i of found) {
      const trace = traces[data.kind[i]];
      const row = rows[data.track[i]];
      trace.base.push(time.begin[i]);
      trace.x.push(Math.max(time.end[i] - time.begin[i], shortest(i)));
      trace.y.push(row.top + (data.lane[i] + 0.5) * row.lane);
      trace.width.push(row.lane * 0.85);
      trace.customdata.push(i);
      trace.hovertext.push(`#${data.number[i]} ${kinds[data.kind[i]].name} ${meta.places[data.place[i]]}<br>` +
        `clock ${number(data.begin[i])}, ${number(data.clocks[i])} clocks, ${duration(data.wait[i])} of the machine`);
    }
    return traces.filter((trace) => trace.x.length);
  }

  function heat(differences) {
    const width = (to - from) / BINS;
    const counts = order.map((i) => {
      const row = differences[i];
      let now = 0;
      return Array.from({ length: BINS }, (_, bin) => (now += row[bin]));
    });
    return [{
      type: "heatmap", x: Array.from({ length: BINS + 1 }, (_, bin) => from + bin * width),
      y: [...order.map((i) => rows[i].top), height], ygap: 2,
      z: counts.map((row) => row.map((n) => (n ? Math.log10(n) : null))), zmin: -0.5,
      customdata: counts, colorscale: "Blues", reversescale: true, showscale: false, hoverongaps: false,
      hovertemplate: "%{customdata} transactions<extra></extra>",
    }];
  }

  function draw() {
    // One pass: the first so many, how many in each bin, and how long they took.
    const found = [];
    const differences = rows.map(() => new Int32Array(BINS + 1));
    const scale = BINS / (to - from);
    const us = $("unit").value === "us";
    const spread = kinds.map(() => new Uint32Array(66));
    let visible = 0;
    let longest = 0;
    inView((i) => {
      if (visible++ < MOST_BARS) found.push(i);
      const row = differences[data.track[i]];
      row[Math.max(0, Math.floor((time.begin[i] - from) * scale))]++;
      row[Math.min(BINS, Math.floor((time.end[i] - from) * scale) + 1)]--;
      if (data.outcome[i] < meta.unfinished) {
        const took = us ? data.wait[i] / 1000 : data.clocks[i];
        const bin = took < 1 ? 0 : Math.min(64, Math.floor(Math.log2(took)) + 1);
        spread[data.kind[i]][bin]++;
        longest = Math.max(longest, bin);
      }
    });
    const mode = visible > MOST_BARS ? "density" : "bars";
    const { values, texts } = ticks();
    const shapes = [];
    if (chosen >= 0) {
      const row = rows[data.track[chosen]];
      const y = row.top + data.lane[chosen] * row.lane;
      shapes.push({
        type: "rect", x0: time.begin[chosen], x1: Math.max(time.end[chosen], time.begin[chosen] + shortest(chosen)),
        y0: y, y1: y + row.lane, line: { color: "#000", width: 1.5 },
      });
    }
    Plotly.react("timeline", mode === "bars" ? bars(found) : heat(differences), {
      height: 70 + 30 * Math.max(height, 2), margin: { l: 150, r: 20, t: 10, b: 50 }, barmode: "overlay", bargap: 0,
      dragmode: "zoom", hovermode: "closest", shapes,
      xaxis: { range: [from, to], ticks: "", tickvals: values, ticktext: texts, showgrid: true, zeroline: false },
      yaxis: {
        range: [height, 0], fixedrange: true, zeroline: false, showgrid: false, ticks: "",
        tickvals: rows.map((row) => row.top + row.tall / 2), ticktext: meta.tracks.map(rowName),
      },
    }, { responsive: true, scrollZoom: true, displaylogo: false, displayModeBar: false, doubleClick: false });
    distribution(spread, longest, us);

    const view = $("view");
    view.textContent = `${number(visible)} of ${number(count)} transactions in ${duration(to - from)}` +
      (mode === "density" ? "; the darker, the more of them" : "");
    Object.assign(view.dataset, { mode, visible, from, to });
  }

  function look(newFrom, newTo) {
    // Not nearer than two clocks, nor farther than all.
    const period = Math.min(...sources.map((s) => s.period), 1000);
    const least = 2 * (time.name === "simulated" ? period : 10);
    const span = Math.min(Math.max(newTo - newFrom, least), time.to - time.from);
    const middle = (newFrom + newTo) / 2;
    from = Math.min(Math.max(middle - span / 2, time.from), time.to - span);
    to = from + span;
    draw();
  }
  const zoom = (factor) => look((from + to) / 2 - (to - from) / 2 * factor, (from + to) / 2 + (to - from) / 2 * factor);
  const move = (part) => look(from + (to - from) * part, to + (to - from) * part);

  // ---- distribution ---------------------------------------------------------------------

  function distribution(spread, longest, us) {
    const names = ["0"];
    for (let bin = 1; bin <= longest; bin++) {
      const low = 2 ** (bin - 1);
      names.push(us ? `${number(low)}–` : low === 1 ? "1" : `${number(low)}–${number(2 * low - 1)}`);
    }
    if (us) names[0] = "<1";
    const traces = kinds.map((kind, k) => ({
      type: "bar", name: kind.name, x: names, y: Array.from(spread[k].subarray(0, names.length)),
      marker: { color: kind.colour },
    })).filter((trace) => trace.y.some((n) => n));
    const most = Math.max(1, ...traces.flatMap((trace) => trace.y));
    Plotly.react("distribution", traces, {
      height: 260, margin: { l: 150, r: 20, t: 10, b: 60 }, barmode: "group", showlegend: true, dragmode: false,
      xaxis: { type: "category", title: { text: us ? "microseconds" : "clocks" }, fixedrange: true },
      yaxis: { type: "log", title: { text: "transactions" }, dtick: 1, range: [Math.log10(0.5), Math.log10(most) + 0.2], fixedrange: true },
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  // ---- tables ---------------------------------------------------------------------------

  // Rows of texts; columns in `text` are words. A click on a row calls what `links` has for it.
  function table(element, head, body, text = [0], links = null) {
    element.replaceChildren();
    const line = (cells, tag) => {
      const row = element.insertRow();
      cells.forEach((cell, i) => {
        const td = document.createElement(tag);
        td.textContent = cell;
        if (text.includes(i)) td.className = "text";
        row.append(td);
      });
      return row;
    };
    if (head) line(head, "th");
    body.forEach((cells, i) => {
      const row = line(cells, "td");
      if (!links) return;
      row.className = "link";
      row.addEventListener("click", () => links[i]());
    });
  }

  const hex = (low, high) => `0x${((BigInt(high) << 32n) | BigInt(low)).toString(16)}`;

  function choose(i) {
    chosen = i;
    const source = sources[data.source[i]];
    const kind = kinds[data.kind[i]].name;
    const fields = [
      ["number", `#${data.number[i]}`], ["kind", kind], ["source", source.name], ["what", meta.places[data.place[i]]],
      ["address", hex(data.address_low[i], data.address_high[i])], ["length", `${number(data.length[i])} bytes`],
      ["bytes moved", number(data.bytes[i])], ["data (first 8 bytes)", hex(data.data_low[i], data.data_high[i])],
      ["outcome", meta.outcomes[data.outcome[i]]],
      ["begun at clock", number(data.begin[i])], ["clocks", number(data.clocks[i])],
      ["begun at, simulated", `${number(data.begin[i] * source.period, 3)} ns`],
      ["begun at, of the machine", `${number(data.host[i] / 1000, 3)} µs`], ["took, of the machine", duration(data.wait[i])],
      ["tag", String(data.tag[i])],
    ];
    if (data.bar[i] < 6) fields.splice(4, 0, ["BAR", String(data.bar[i])]);
    if (data.taken[i] >= 0) fields.push(["taken by the RTL at clock", number(data.begin[i] + data.taken[i])]);
    if (data.answered[i] >= 0) fields.push(["answered by QEMU at clock", number(data.begin[i] + data.answered[i])]);
    if (kind.startsWith("dma")) fields.push(["without a message", data.flags[i] & 1 ? "yes" : "no"]);
    table($("details"), null, fields, [0, 1]);
    $("details").hidden = false;
    $("details").dataset.number = data.number[i];
  }

  function goTo(i) {
    choose(i);
    const least = 40 * (time.name === "simulated" ? sources[data.source[i]].period : 100);
    const span = Math.max((time.end[i] - time.begin[i]) * 4, least);
    const middle = (time.begin[i] + time.end[i]) / 2;
    look(middle - span / 2, middle + span / 2);
  }

  function byNumber(wanted) {
    // Numbers go up within a source.
    for (const source of sources) {
      const i = search(data.number, source.first, source.last, wanted);
      if (i < source.last && data.number[i] === wanted) return i;
    }
    return -1;
  }

  const us = (ns) => number(ns / 1000, 3);

  function tables() {
    const links = (list) => list.map((t) => () => {
      const i = byNumber(t.number);
      if (i >= 0) goTo(i);
      $("timeline").scrollIntoView();
    });
    const cells = (t) => [t.source, `#${t.number}`, t.kind, t.place, number(t.length), number(t.clock)];
    const head = ["source", "number", "kind", "what", "length", "begun at clock"];
    table($("longest"), [...head, "clocks", "µs of the machine", "status"],
      meta.longest.map((t) => [...cells(t), number(t.clocks), us(t.ns), t.status]), [0, 2, 3, 8], links(meta.longest));
    $("outstanding-title").textContent += `: ${number(meta.outstanding_count)}`;
    table($("outstanding"), meta.outstanding.length ? [...head, "who has it"] : null,
      meta.outstanding.map((t) => [...cells(t), t.who]), [0, 2, 3, 6], links(meta.outstanding));
    table($("counts"), ["source", "what", "count"], meta.counts.map(([s, name, n]) => [s, name, number(n)]), [0, 1]);
    table($("latencies"),
      ["source", "kind", "register", "count", "median clocks", "p90", "p99", "max", "median µs", "p99", "max"],
      meta.latencies.map((l) => [l.source, l.kind, l.place, number(l.count), ...l.clocks.map((n) => number(n)), ...l.ns.map(us)]),
      [0, 1, 2], meta.latencies.map((l) => () => {
        kinds.forEach((kind) => { kind.on = kind.box.checked = kind.name === l.kind; });
        const place = meta.places.indexOf(l.place);
        $("register").value = [...$("register").options].some((o) => o.value === String(place)) ? String(place) : "-1";
        filter();
      }));
  }

  // ---- begin ----------------------------------------------------------------------------

  async function begin() {
    if (typeof DecompressionStream === "undefined") {
      problem("This browser is too old for the page: it has no DecompressionStream.");
      return;
    }
    document.title = meta.title;
    $("title").textContent = meta.title;
    $("record").textContent = meta.record;
    for (const spec of meta.columns) data[spec.name] = await column(spec);
    mask = new Uint8Array(count).fill(1);
    const used = { kind: new Uint32Array(kinds.length), place: new Uint8Array(meta.places.length), outcome: new Uint8Array(meta.outcomes.length) };
    for (let i = 0; i < count; i++) {
      used.kind[data.kind[i]]++;
      used.outcome[data.outcome[i]] = 1;
      if (data.bar[i] < 6) used.place[data.place[i]] = 1;
    }
    kinds.forEach((kind, k) => {
      const label = document.createElement("label");
      kind.box = document.createElement("input");
      kind.box.type = "checkbox";
      kind.box.checked = true;
      kind.box.dataset.kind = kind.name;
      kind.box.addEventListener("change", () => { kind.on = kind.box.checked; filter(); });
      const colour = document.createElement("i");
      colour.className = "colour";
      colour.style.background = kind.colour;
      label.append(kind.box, colour, `${kind.name} (${number(used.kind[k])})`);
      if (used.kind[k]) $("kinds").append(label);
    });
    choices("register", meta.places, (i) => used.place[i]);
    choices("source", sources.map((s) => s.name), () => true);
    choices("outcome", meta.outcomes, (i) => used.outcome[i]);
    tables();

    const whole = () => look(time.from, time.to);
    $("whole").addEventListener("click", whole);
    $("in").addEventListener("click", () => zoom(0.5));
    $("out").addEventListener("click", () => zoom(2));
    $("left").addEventListener("click", () => move(-0.5));
    $("right").addEventListener("click", () => move(0.5));
    $("unit").addEventListener("change", draw);
    $("clock").addEventListener("change", () => { time = axis($("clock").value); whole(); });
    const go = () => {
      const i = byNumber(Number($("number").value));
      if (i < 0) $("view").textContent = `no transaction has the number ${$("number").value}`;
      else goTo(i);
    };
    $("go").addEventListener("click", go);
    $("number").addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });

    time = axis("simulated");
    whole();
    const line = $("timeline");
    line.on("plotly_relayout", (event) => {
      if ("xaxis.range[0]" in event) look(event["xaxis.range[0]"], event["xaxis.range[1]"]);
    });
    line.on("plotly_doubleclick", whole);
    line.on("plotly_click", (event) => {
      const point = event.points[0];
      if (point.data.type === "bar") {
        choose(point.customdata);
        draw();
      } else {
        const width = (to - from) / BINS;
        const at = from + (point.pointIndex[1] + 0.5) * width;
        look(at - 5 * width, at + 5 * width);
      }
    });
    document.body.dataset.ready = "true";
  }
  begin();
})();
