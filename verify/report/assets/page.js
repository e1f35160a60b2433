"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const number = new Intl.NumberFormat("en");
  const counted = (n) => number.format(n) + (n === 1 ? " device" : " devices");

  // ---- colors

  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const redrawn = []; // what draws with colors that a canvas has to be told

  function paint() {
    byId("theme").setAttribute("aria-pressed", String(isDark()));
    redrawn.forEach((draw) => draw());
  }

  function setTheme(theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    paint();
  }

  // color resolves light-dark(), which a canvas does not know.
  function color(name) {
    const probe = byId("theme");
    const before = probe.style.outlineColor;
    probe.style.outlineColor = "var(" + name + ")";
    const resolved = getComputedStyle(probe).outlineColor;
    probe.style.outlineColor = before;
    return resolved;
  }

  // ---- charts

  const font = "12px system-ui, sans-serif";
  const room = 17; // for a line of words over the bars

  const scaled = (text) => text.replace(/^\d+/, (size) => Math.round(size * devicePixelRatio));
  const ruler = document.createElement("canvas").getContext("2d");

  // layMarks gives each mark's words the first line where they touch no other's.
  function layMarks(marks, left, width, toX) {
    const ends = [];
    ruler.font = scaled(font);
    return marks.map((mark) => {
      const x = toX(mark.at);
      const own = ruler.measureText(mark.label).width + 10 * devicePixelRatio;
      const from = Math.max(left, Math.min(x - own / 2, left + width - own));
      let line = ends.findIndex((end) => end < from);
      if (line < 0) line = ends.length;
      ends[line] = from + own;
      return { x, from, line, label: mark.label };
    });
  }

  // linesOf is how many lines of words a chart of that width will need.
  function linesOf(chart, width) {
    const laid = layMarks(chart.marks || [], 0, width, (at) => (at / chart.bars.length) * width);
    return Math.max(0, ...laid.map((mark) => mark.line + 1));
  }

  function drawLine(u, x, ink, width) {
    u.ctx.strokeStyle = color(ink);
    u.ctx.lineWidth = width * devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.moveTo(x, u.bbox.top - 2 * devicePixelRatio);
    u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
    u.ctx.stroke();
  }

  function drawMarks(u, marks) {
    const ctx = u.ctx;
    ctx.save();
    ctx.font = scaled(font);
    ctx.textBaseline = "bottom";
    ctx.textAlign = "left";
    ctx.fillStyle = color("--ink");
    for (const mark of layMarks(marks, u.bbox.left, u.bbox.width, (at) => u.valToPos(at, "x", true))) {
      drawLine(u, mark.x, "--card", 5); // so that it is seen on the bars too
      drawLine(u, mark.x, "--ink", 1.5);
      ctx.fillText(mark.label, mark.from + 5 * devicePixelRatio, u.bbox.top - (mark.line * room + 3) * devicePixelRatio);
    }
    ctx.restore();
  }

  // labels leaves out what would not fit, and keeps the same step between.
  function labels(u, chart, wide) {
    const edges = chart.edges;
    const list = edges || chart.bars.map((bar) => bar.label);
    const each = u.bbox.width / devicePixelRatio / chart.bars.length;
    const step = Math.max(1, Math.ceil(wide / each));
    return list.map((text, i) => ({ at: edges ? i : i + 0.5, text })).filter((_, i) => i % step === 0);
  }

  function options(chart, box, readout) {
    const wide = chart.edges ? 46 : 84;
    const lines = linesOf(chart, (box.clientWidth - 90) * devicePixelRatio);
    const grid = { stroke: color("--line"), width: 1 };
    const axis = { stroke: color("--soft"), font, grid, ticks: grid };
    const bars = (key) => ({ fill: color(key), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.86, 90], radius: 0.12 }) });
    return {
      width: box.clientWidth,
      height: box.clientHeight,
      padding: [lines * room + 8, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: [0, chart.bars.length] }, y: { range: (u, low, high) => [0, Math.max(1, high * 1.05)] } },
      axes: [
        { ...axis, size: 34, grid: { show: false }, splits: (u) => labels(u, chart, wide).map((l) => l.at), values: (u) => labels(u, chart, wide).map((l) => l.text) },
        { ...axis, size: 58, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000], values: (u, ticks) => ticks.map((t) => number.format(t)) },
      ],
      series: [{}, bars("--accent"), bars("--bad")],
      hooks: {
        draw: [(u) => drawMarks(u, chart.marks || [])],
        setCursor: [(u) => {
          const i = u.cursor.left >= 0 ? Math.floor(u.posToVal(u.cursor.left, "x")) : -1;
          const bar = chart.bars[i];
          readout.textContent = bar ? bar.label + ": " + counted(bar.count) : "";
        }],
      },
    };
  }

  function makeChart(id, chart) {
    const box = byId(id + "-plot");
    if (!chart || !box) return;
    box.hidden = byId(id + "-readout").hidden = false;
    const count = (late) => chart.bars.map((bar) => (Boolean(bar.late) === late ? bar.count : null));
    const columns = [chart.bars.map((_, i) => i + 0.5), count(false), count(true)];
    let plot;
    const draw = () => {
      if (plot) plot.destroy();
      plot = new uPlot(options(chart, box, byId(id + "-readout")), columns, box);
    };
    draw();
    redrawn.push(draw);
    new ResizeObserver(() => {
      if (box.clientWidth && box.clientWidth !== plot.width) draw();
    }).observe(box);
  }

  // ---- devices

  // Of a row, in the order of package report's rows.go.
  const [DEVICE, OK, HOW, CAUSE, LATENCY, AT, CREDENTIAL, EXPIRES] = [0, 1, 2, 3, 4, 5, 6, 7];
  const howWords = { connected: "connected", record: "by record", server: "by server", bundle: "files only" };
  const pad = (n) => String(n).padStart(2, "0");
  const day = (days) => new Date(days * 86400000).toISOString().slice(0, 10);

  function moment(seconds) {
    const t = new Date(seconds * 1000);
    return t.toISOString().slice(0, 10) + " " + pad(t.getUTCHours()) + ":" + pad(t.getUTCMinutes()) + ":" + pad(t.getUTCSeconds());
  }

  const how = (row) => howWords[data.hows[row[HOW]]] || data.hows[row[HOW]] || "";
  const credential = (row) => data.credentials[row[CREDENTIAL]] || "";
  const cause = (row) => data.causes[row[CAUSE]];

  // Names are compared once, so that sorting compares numbers only.
  const collator = new Intl.Collator("en", { numeric: true });
  const rank = new Float64Array(data.rows.length);
  data.rows.map((_, i) => i)
    .sort((a, b) => collator.compare(data.rows[a][DEVICE], data.rows[b][DEVICE]))
    .forEach((at, place) => { rank[at] = place; });

  const causeText = data.causes.map((c) => [c.diagnosis, c.failed, c.cause].join(" ").toLowerCase());
  const text = data.rows.map((row) => [row[DEVICE], how(row), credential(row)].join(" ").toLowerCase());

  const blankLast = (value) => (value === null || value === 0 || value === "" ? undefined : value);
  const keys = {
    device: (i) => rank[i],
    result: (i) => data.rows[i][OK],
    how: (i) => blankLast(how(data.rows[i])),
    cause: (i) => (cause(data.rows[i]) || {}).diagnosis,
    latency: (i) => blankLast(data.rows[i][LATENCY]),
    credential: (i) => blankLast(credential(data.rows[i])),
    expires: (i) => blankLast(data.rows[i][EXPIRES]),
    at: (i) => blankLast(data.rows[i][AT]),
  };

  const state = { key: "result", descending: false, page: 0, shown: [] };

  // compare puts what has no value last in both directions.
  function compare(a, b) {
    if (a === b) return 0;
    if (a === undefined) return 1;
    if (b === undefined) return -1;
    return (a < b ? -1 : 1) * (state.descending ? -1 : 1);
  }

  function matching() {
    const words = byId("query").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = { all: -1, failed: 0, passed: 1 }[byId("result").value];
    const found = [];
    data.rows.forEach((row, i) => {
      if (wanted >= 0 && row[OK] !== wanted) return;
      const why = row[CAUSE] >= 0 ? causeText[row[CAUSE]] : "";
      if (words.every((word) => text[i].includes(word) || why.includes(word))) found.push(i);
    });
    return found;
  }

  function update() {
    const key = keys[state.key];
    const values = new Map();
    state.shown = matching();
    state.shown.forEach((i) => values.set(i, key(i)));
    state.shown.sort((a, b) => compare(values.get(a), values.get(b)) || rank[a] - rank[b]);
    state.page = 0;
    render();
  }

  function cell(row, name, className, content) {
    const td = document.createElement(name);
    if (name === "th") td.scope = "row";
    if (className) td.className = className;
    td.append(content === "" ? "–" : content);
    row.append(td);
    return td;
  }

  // bidi keeps a name's direction from changing what stands beside it, and puts
  // one that nobody would see into quotes.
  function bidi(name) {
    const element = document.createElement("bdi");
    element.textContent = name.trim() ? name : JSON.stringify(name);
    return element;
  }

  function causeCell(tr, told) {
    if (!told) return cell(tr, "td", "", "");
    const td = cell(tr, "td", "", "");
    const check = document.createElement("code");
    check.textContent = told.diagnosis;
    const words = small(told.cause);
    words.dir = "auto";
    td.replaceChildren(check, words);
    return td;
  }

  const small = (words) => {
    const element = document.createElement("span");
    element.className = "check";
    element.textContent = words;
    return element;
  };

  function expiresCell(tr, days) {
    const td = cell(tr, "td", "when", days === null ? "" : day(days));
    if (days !== null && days < Math.floor(data.generated / 86400)) td.append(small("expired"));
  }

  function line(row) {
    const tr = document.createElement("tr");
    cell(tr, "th", "", bidi(row[DEVICE]));
    const result = document.createElement("span");
    result.className = "state " + (row[OK] ? "passed" : "failed");
    result.textContent = row[OK] ? "✓ Passed" : "✗ Failed";
    const td = cell(tr, "td", "", result);
    if (!row[OK] && cause(row) && cause(row).failed) td.append(small("at " + cause(row).failed));
    cell(tr, "td", "", how(row));
    causeCell(tr, cause(row));
    cell(tr, "td", "number", row[LATENCY] ? row[LATENCY].toFixed(1) : "");
    cell(tr, "td", "", credential(row));
    expiresCell(tr, row[EXPIRES]);
    cell(tr, "td", "", row[AT] === null ? "" : moment(row[AT]));
    return tr;
  }

  function render() {
    const size = Number(byId("size").value);
    const pages = Math.max(1, Math.ceil(state.shown.length / size));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const from = state.page * size;
    const part = state.shown.slice(from, from + size);
    byId("rows").replaceChildren(...part.map((i) => line(data.rows[i])));
    byId("page").textContent = "Page " + number.format(state.page + 1) + " of " + number.format(pages);
    const range = part.length ? ", showing " + number.format(from + 1) + " to " + number.format(from + part.length) : "";
    byId("found").textContent = number.format(state.shown.length) + " of " + counted(data.rows.length) + range;
    for (const [id, off] of [["first", state.page === 0], ["previous", state.page === 0], ["next", state.page === pages - 1], ["last", state.page === pages - 1]]) {
      // Not the attribute disabled: it would take the focus away from who pages by keyboard.
      byId(id).setAttribute("aria-disabled", String(off));
    }
    document.querySelectorAll("th[data-key]").forEach((th) => {
      if (th.dataset.key === state.key) th.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
  }

  function startTable() {
    byId("table").hidden = false;
    let waiting;
    byId("query").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(update, 120); // one count to be read out, not one a letter
    });
    byId("find").addEventListener("submit", (event) => { event.preventDefault(); update(); });
    byId("result").addEventListener("change", update);
    byId("size").addEventListener("change", () => { state.page = 0; render(); });
    const turn = (id, page) => byId(id).addEventListener("click", () => { state.page = page(); render(); });
    turn("first", () => 0);
    turn("previous", () => state.page - 1);
    turn("next", () => state.page + 1);
    turn("last", () => Infinity);
    document.querySelectorAll("th[data-key]").forEach((th) => th.querySelector("button").addEventListener("click", () => {
      state.descending = state.key === th.dataset.key && !state.descending;
      state.key = th.dataset.key;
      update();
    }));
    document.querySelectorAll("button.show").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => {
        byId("query").value = button.dataset.find;
        byId("result").value = "failed";
        update();
        byId("query").focus();
      });
    });
    update();
  }

  // ---- paper

  function startPrinting() {
    let opened = [], theme;
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      opened.forEach((d) => { d.open = true; });
      theme = root.dataset.theme;
      setTheme("light");
    });
    addEventListener("afterprint", () => {
      opened.forEach((d) => { d.open = false; });
      setTheme(theme);
    });
  }

  // A page opened from a file may not be allowed to keep anything.
  function kept(theme) {
    try {
      if (theme) localStorage.setItem("tbcert-report-theme", theme);
      return localStorage.getItem("tbcert-report-theme");
    } catch {
      return null;
    }
  }

  byId("theme").hidden = false;
  byId("theme").addEventListener("click", () => setTheme(kept(isDark() ? "light" : "dark") || (isDark() ? "light" : "dark")));
  prefersDark.addEventListener("change", paint);
  const before = kept();
  if (before === "light" || before === "dark") root.dataset.theme = before;
  paint();
  makeChart("latency", data.latency);
  makeChart("expiry", data.expiry);
  startTable();
  startPrinting();
  root.dataset.ready = "yes";
})();
