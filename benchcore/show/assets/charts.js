// Draws the plots of a page with uPlot: what each shows stands in the element `plots`.
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const GLYPHS = ["●", "■", "▲", "◆", "▼", "✚", "✖"];
  const DASHES = [[], [7, 4], [7, 3, 2, 3], [2, 3]];
  const COLORS = GLYPHS.length;
  const HEIGHT = 300; // of a usual panel, in pixels
  const MOST_ROWS = 1000; // of the data behind a plot
  const figures = new Map(); // a name of a plot to what is drawn of it
  const groups = new Map(); // a group of plots to its figures

  // Colours are the page's own, which change with light and dark.

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  let colors = new Map();

  function color(name) {
    if (!colors.has(name)) {
      probe.style.color = `var(--${name})`;
      colors.set(name, getComputedStyle(probe).color);
    }
    return colors.get(name);
  }

  function recolor() {
    colors = new Map();
    for (const drawn of figures.values()) {
      for (const chart of drawn.charts) chart.redraw(false, true);
    }
  }

  // Paper is always light.
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", recolor);
  }
  document.querySelector(".theme").addEventListener("change", recolor);

  // Numbers and axes.

  function shown(value) {
    if (value == null) return "–";
    if (value === 0) return "0";
    const digits = Math.abs(value) >= 1000 ? Math.ceil(Math.log10(Math.abs(value))) : 4;
    return value.toLocaleString("en", { maximumSignificantDigits: Math.max(digits, 4) });
  }

  function percentile(nines) {
    const digits = Math.max(0, Math.ceil(nines - 1e-9) - 2) + (Number.isInteger(nines) ? 0 : 1);
    return `${(100 * (1 - 10 ** -nines)).toFixed(digits)} %`;
  }

  function told(axis, value) {
    return axis.scale === "nines" ? percentile(value) : shown(value);
  }

  function logSplits(low, high) {
    const splits = [];
    const decades = Math.log10(high / low);
    const steps = decades > 4 ? [1] : decades > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      for (const step of steps) {
        const value = Number((step * 10 ** power).toPrecision(3));
        if (value >= low && value <= high) splits.push(value);
      }
    }
    return splits.length > 2 ? splits : evenSplits(low, high);
  }

  // Where a logarithmic axis spans so little that it is nearly even.
  function evenSplits(low, high) {
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const by = [1, 2, 5, 10].find((step) => step * power >= rough) * power;
    const splits = [];
    for (let at = Math.ceil(low / by); at * by <= high; at += 1) {
      splits.push(Number((at * by).toPrecision(6)));
    }
    return splits;
  }

  function ninesSplits(low, high) {
    const step = high - low < 1.5 ? 0.25 : 1;
    const splits = [];
    for (let at = Math.ceil(low / step); at * step <= high + 1e-9; at += 1) splits.push(at * step);
    return splits;
  }

  // The x of all panels of a plot, so that they stand below one another.
  function wholeOf(plot) {
    let [low, high] = [Infinity, -Infinity];
    for (const panel of plot.panels) {
      for (const { x, form, width } of panel.series) {
        const half = form === "bars" ? width / 2 : 0;
        for (const value of x.filter((one) => usable(panel.x, one))) {
          low = Math.min(low, value - half);
          high = Math.max(high, value + half);
        }
      }
    }
    return padded(plot.panels[0].x, ...(low <= high ? [low, high] : [null, null]));
  }

  // The range of an axis around what there is, with room at both ends.
  function padded(axis, low, high) {
    if (low == null || high == null) return axis.scale === "log" ? [1, 10] : [0, 1];
    if (axis.scale === "log") {
      const room = Math.max((high / low) ** 0.06, 1.05);
      return [low / room, high * room];
    }
    if (axis.scale === "nines") return [low, high];
    const bottom = axis.fromZero ? Math.min(0, low) : low;
    const room = (high - bottom || Math.abs(high) || 1) * 0.06;
    return [axis.fromZero ? bottom : low - room, high + room];
  }

  function axisOf(axis, label, sized) {
    const drawn = {
      stroke: () => color("dim"),
      grid: { stroke: () => color("line"), width: 1 },
      ticks: { stroke: () => color("line"), width: 1, size: 4 },
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      label,
      labelSize: 18,
      values: (_, splits) => splits.map((value) => told(axis, value)),
      ...sized,
    };
    if (axis.scale === "log") {
      drawn.splits = (_u, _i, low, high) => logSplits(low, high);
      drawn.filter = (_, splits) => splits;
    }
    if (axis.scale === "nines") drawn.splits = (_u, _i, low, high) => ninesSplits(low, high);
    if (axis.scale === "whole") drawn.incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e4, 1e5];
    return drawn;
  }

  // Series: uPlot wants one x for all of them, sorted; a line is drawn through its own points.

  function usable(axis, value) {
    return value != null && (axis.scale !== "log" || value > 0);
  }

  function joined(panel) {
    const points = [];
    panel.series.forEach((series, place) => {
      series.x.forEach((x, i) => {
        const y = series.y[i];
        if (usable(panel.x, x) && usable(panel.y, y)) points.push([x, place + 1, y]);
      });
    });
    points.sort((one, other) => one[0] - other[0]);
    const data = [[], ...panel.series.map(() => [])];
    for (const [x, place, y] of points) {
      const last = data[0].length - 1;
      if (last >= 0 && data[0][last] === x && data[place][last] == null) {
        data[place][last] = y;
        continue;
      }
      data[0].push(x);
      for (let column = 1; column < data.length; column += 1) {
        data[column].push(column === place ? y : null);
      }
    }
    return data;
  }

  function linePath(panel, series) {
    return (u) => {
      const path = new Path2D();
      let last = null;
      series.x.forEach((x, i) => {
        const y = series.y[i];
        if (!usable(panel.x, x) || !usable(panel.y, y)) {
          last = null;
          return;
        }
        const [left, top] = [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
        if (last === null) path.moveTo(left, top);
        else {
          if (series.form === "step") path.lineTo(left, last);
          path.lineTo(left, top);
        }
        last = top;
      });
      return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 0 };
    };
  }

  function barPath(series) {
    return (u) => {
      const path = new Path2D();
      const floor = u.valToPos(0, "y", true);
      series.x.forEach((x, i) => {
        if (!series.y[i]) return;
        const left = u.valToPos(x - series.width / 2, "x", true);
        const right = u.valToPos(x + series.width / 2, "x", true);
        const top = u.valToPos(series.y[i], "y", true);
        path.rect(left, top, Math.max(right - left - 1, 1), floor - top);
      });
      return { stroke: null, fill: path, clip: null, band: null, gaps: null, flags: 0 };
    };
  }

  // Of each place its own mark, so that nothing is told by colour alone.
  function addMark(path, mark, x, y, size) {
    const half = size / 2;
    if (mark === 0) {
      path.moveTo(x + half, y);
      path.arc(x, y, half, 0, 2 * Math.PI);
    } else if (mark === 1) path.rect(x - half, y - half, size, size);
    else if (mark === 2 || mark === 4) {
      const up = mark === 2 ? half : -half;
      path.moveTo(x, y - up);
      path.lineTo(x + half, y + up);
      path.lineTo(x - half, y + up);
      path.closePath();
    } else if (mark === 3) {
      path.moveTo(x, y - half);
      path.lineTo(x + half, y);
      path.lineTo(x, y + half);
      path.lineTo(x - half, y);
      path.closePath();
    } else {
      path.rect(x - half, y - half / 3, size, size / 3);
      path.rect(x - half / 3, y - half, size / 3, size);
    }
  }

  function markPath(series, size) {
    return (u, place, first, last) => {
      const path = new Path2D();
      const scaled = size * devicePixelRatio;
      for (let i = first; i <= last; i += 1) {
        const y = u.data[place][i];
        if (y == null) continue;
        const [left, top] = [u.valToPos(u.data[0][i], "x", true), u.valToPos(y, "y", true)];
        addMark(path, series.place % COLORS, left, top, scaled);
      }
      const clip = new Path2D();
      const { left, top, width, height } = u.bbox;
      clip.rect(left - scaled, top - scaled, width + 2 * scaled, height + 2 * scaled);
      return { stroke: null, fill: path, clip, flags: 3 };
    };
  }

  function seriesOf(panel, series) {
    const own = () => color(`s${series.place % COLORS}`);
    const scattered = series.form === "points";
    const marked = scattered || series.marks;
    const bars = series.form === "bars";
    return {
      label: series.label,
      stroke: own,
      fill: bars ? own : undefined,
      alpha: bars ? 0.75 : scattered ? 0.65 : 1,
      width: 1.8,
      dash: DASHES[Math.floor(series.place / COLORS) % DASHES.length],
      paths: bars ? barPath(series) : scattered ? () => null : linePath(panel, series),
      points: marked
        ? { show: true, size: 7, width: 0, fill: own, paths: markPath(series, scattered ? 4 : 8) }
        : { show: false },
    };
  }

  // What is drawn besides: stretches that are shaded, upright lines, names of points.

  function shade(panel) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(left, top, width, height);
      u.ctx.clip();
      for (const [kind, begin, end] of panel.bands) {
        const [from, to] = [u.valToPos(begin, "x", true), u.valToPos(end, "x", true)];
        u.ctx.fillStyle = color(kind);
        u.ctx.fillRect(from, top, to - from, height);
      }
      u.ctx.strokeStyle = color("dim");
      u.ctx.lineWidth = devicePixelRatio;
      u.ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      for (const x of panel.rules) {
        const at = u.valToPos(x, "x", true);
        u.ctx.beginPath();
        u.ctx.moveTo(at, top);
        u.ctx.lineTo(at, top + height);
        u.ctx.stroke();
      }
      u.ctx.restore();
    };
  }

  function overlap(one, other) {
    return one.left < other.right && other.left < one.right &&
      one.top < other.bottom && other.top < one.bottom;
  }

  function annotate(panel) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      const ratio = devicePixelRatio;
      const [gap, line] = [7 * ratio, 13 * ratio];
      const taken = [];
      u.ctx.save();
      u.ctx.fillStyle = color("ink");
      u.ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      u.ctx.textAlign = "left";
      u.ctx.textBaseline = "top";
      for (const [x, y, text] of panel.labels) {
        const [at, level] = [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
        if (at < left || at > left + width || level < top || level > top + height) continue;
        const wide = u.ctx.measureText(text).width;
        // To the right above, else the left, else below: where it fits and hides no other.
        const places = [level - line - gap / 2, level + gap / 2].flatMap((above) =>
          [at + gap, at - wide - gap].map((from) =>
            ({ left: from, right: from + wide, top: above, bottom: above + line })));
        const fits = (box) => box.left >= left && box.right <= left + width && box.top >= top - gap &&
          box.bottom <= top + height && !taken.some((other) => overlap(box, other));
        const box = places.find(fits) ?? places[0];
        taken.push(box);
        u.ctx.fillText(text, box.left, box.top);
      }
      u.ctx.restore();
    };
  }

  // The cursor stands at one x; each series tells its own nearest point.

  function nearest(u, place, index) {
    if (place === 0 || index == null || u.data[place][index] != null) return index;
    const values = u.data[place];
    const x = u.posToVal(u.cursor.left, "x");
    let [before, after] = [index, index];
    while (before >= 0 && values[before] == null) before -= 1;
    while (after < values.length && values[after] == null) after += 1;
    if (before < 0) return after < values.length ? after : index;
    if (after >= values.length) return before;
    return x - u.data[0][before] <= u.data[0][after] - x ? before : after;
  }

  function tell(panel, keys, at) {
    return (u) => {
      const inside = u.cursor.left >= 0;
      at.textContent = inside ? `at ${told(panel.x, u.posToVal(u.cursor.left, "x"))}` : "";
      keys.forEach((key, place) => {
        const index = inside ? u.cursor.idxs[place + 1] : null;
        const value = index == null ? null : u.data[place + 1][index];
        key.value.textContent = value == null ? "" : ` ${shown(value)}`;
      });
    };
  }

  // Zoom: of all plots of a group together.

  function setRange(group, range) {
    for (const drawn of groups.get(group)) {
      for (const chart of drawn.charts) {
        const [min, max] = range ?? chart.whole;
        chart.setScale("x", { min, max });
      }
    }
  }

  function zoom(drawn, factor) {
    const chart = drawn.charts[0];
    const log = chart.scales.x.distr === 3;
    const [to, from] = log ? [Math.log, Math.exp] : [(x) => x, (x) => x];
    const [low, high] = [to(chart.scales.x.min), to(chart.scales.x.max)];
    const { left } = chart.cursor;
    const middle = left >= 0 ? to(chart.posToVal(left, "x")) : (low + high) / 2;
    const range = [from(middle - (middle - low) * factor), from(middle + (high - middle) * factor)];
    const [first, last] = chart.whole;
    const wide = [Math.max(range[0], first), Math.min(range[1], last)];
    setRange(drawn.plot.group, wide[0] <= first && wide[1] >= last ? null : wide);
  }

  function onZoom(drawn) {
    return (u, key) => {
      if (key !== "x" || !u.whole) return;
      const [min, max] = u.whole;
      const zoomed = u.scales.x.min > min || u.scales.x.max < max;
      drawn.reset.hidden = !zoomed;
    };
  }

  function step(drawn, by) {
    const chart = drawn.charts[0];
    const { min, max } = chart.scales.x;
    const known = chart.data[0].map((x, i) => [x, i]).filter(([x]) => x >= min && x <= max);
    if (!known.length) return;
    const now = chart.cursor.left >= 0 ? chart.posToVal(chart.cursor.left, "x") : null;
    let place = now == null ? (by > 0 ? 0 : known.length - 1) : 0;
    if (now != null) {
      const width = Math.abs(chart.posToVal(1, "x") - chart.posToVal(0, "x"));
      place = by > 0
        ? known.findIndex(([x]) => x > now + width)
        : known.findLastIndex(([x]) => x < now - width);
      if (place < 0) place = by > 0 ? known.length - 1 : 0;
    }
    const left = chart.valToPos(known[place][0], "x");
    chart.setCursor({ left, top: chart.over.clientHeight / 2 }, true, true);
    drawn.said.textContent = [...drawn.element.querySelectorAll(".at, .key")]
      .map((one) => one.textContent.replace(/^\W+/u, "").trim())
      .filter((one) => one)
      .join(", ");
  }

  function onKey(drawn) {
    const does = {
      ArrowLeft: () => step(drawn, -1),
      ArrowRight: () => step(drawn, 1),
      "+": () => zoom(drawn, 0.5),
      "-": () => zoom(drawn, 2),
      0: () => setRange(drawn.plot.group, null),
      Escape: () => setRange(drawn.plot.group, null),
    };
    return (event) => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? null : does[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
  }

  // Elements.

  function make(tag, given = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function button(text, label, act) {
    const made = make("button", { type: "button", "aria-label": label, title: label }, text);
    made.addEventListener("click", act);
    return made;
  }

  function keyOf(drawn, series, number) {
    const glyph = series.form === "points" || series.marks ? GLYPHS[series.place % COLORS]
      : series.form === "bars" ? "▮" : series.place < COLORS ? "━" : "╍";
    const mark = make("span", { class: `s${series.place % COLORS}`, "aria-hidden": "true" }, glyph);
    const value = make("b");
    const key = make("button", { type: "button", class: "key", "aria-pressed": "true" });
    key.append(mark, ` ${series.label}`, value);
    key.addEventListener("click", () => {
      const show = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(show));
      drawn.charts[number.panel].setSeries(number.series + 1, { show });
    });
    return { key, value };
  }

  function dataTable(panel) {
    const data = joined(panel);
    const heads = [panel.x.label, ...panel.series.map((series) => series.label)];
    const table = make("table", {}, make("caption", { class: "hidden" }, panel.y.label));
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    table.append(make("thead", {}, head));
    const body = make("tbody");
    for (let i = 0; i < Math.min(data[0].length, MOST_ROWS); i += 1) {
      const cells = data.slice(1).map((column) => make("td", {}, shown(column[i])));
      body.append(make("tr", {}, make("th", { scope: "row" }, told(panel.x, data[0][i])), ...cells));
    }
    table.append(body);
    const label = `Data: ${panel.y.label}`;
    const wide = make("div", { class: "wide", role: "group", tabindex: "0", "aria-label": label });
    wide.append(table);
    const parts = [make("p", { class: "dim" }, panel.y.label), wide];
    if (data[0].length > MOST_ROWS) {
      const said = `The first ${MOST_ROWS} of ${data[0].length.toLocaleString("en")} points.`;
      parts.push(make("p", { class: "dim" }, said));
    }
    return parts;
  }

  function drawPanel(drawn, number, width) {
    const panel = drawn.plot.panels[number];
    const block = make("div", { class: "panel" });
    const keys = panel.series.map((series, place) =>
      keyOf(drawn, series, { panel: number, series: place }));
    const at = make("span", { class: "at" });
    const legend = make("div", { class: "legend" }, ...keys.map(({ key }) => key), at);
    const host = make("div");
    block.append(legend, host);
    drawn.host.append(block);
    const data = joined(panel);
    const whole = wholeOf(drawn.plot);
    const last = number === drawn.plot.panels.length - 1;
    const options = {
      width,
      height: heightOf(panel, width, last),
      legend: { show: false },
      padding: [8, 22, 0, 0],
      scales: {
        x: {
          time: false,
          auto: false,
          distr: panel.x.scale === "log" ? 3 : 1,
          range: (_, low, high) => [low, high],
          min: whole[0],
          max: whole[1],
        },
        y: {
          distr: panel.y.scale === "log" ? 3 : 1,
          range: (_, low, high) => padded(panel.y, low, high),
        },
      },
      axes: [
        axisOf(panel.x, last ? panel.x.label : undefined, { size: 28, space: 60 }),
        axisOf(panel.y, panel.y.label, { size: 52, space: 34 }),
      ],
      series: [{}, ...panel.series.map((series) => seriesOf(panel, series))],
      cursor: {
        sync: { key: drawn.plot.group, scales: ["x", null] },
        drag: { x: true, y: false },
        dataIdx: nearest,
        points: { size: 8 },
        bind: { dblclick: () => () => setRange(drawn.plot.group, null) },
      },
      hooks: {
        drawClear: [shade(panel)],
        draw: [annotate(panel)],
        setCursor: [tell(panel, keys, at)],
        setScale: [onZoom(drawn)],
      },
    };
    const chart = new uPlot(options, data, host);
    chart.whole = whole;
    return chart;
  }

  function heightOf(panel, width, last) {
    const base = width < 480 ? 0.85 * HEIGHT : HEIGHT;
    return Math.round(Math.max(base * panel.height, 130)) + (last ? 18 : 0);
  }

  function draw(element) {
    const plot = plots.find((one) => one.name === element.dataset.plot);
    const drawn = { plot, element, charts: [] };
    const help = "Arrow keys move the cursor, plus and minus zoom, 0 shows all.";
    drawn.host = make("div", { class: "chart", tabindex: "0", role: "group" });
    drawn.host.setAttribute("aria-label", `Plot: ${plot.text}. ${help}`);
    drawn.said = make("p", { class: "hidden", "aria-live": "polite" });
    drawn.reset = button("Reset", `Show all of ${plot.title}`, () => setRange(plot.group, null));
    drawn.reset.hidden = true;
    const tools = make("div", { class: "tools" }, drawn.reset);
    tools.append(
      button("−", `Zoom out of ${plot.title}`, () => zoom(drawn, 2)),
      button("+", `Zoom into ${plot.title}`, () => zoom(drawn, 0.5)),
    );
    element.querySelector(".plot-head").append(tools);
    element.querySelector("figcaption").before(drawn.host, drawn.said);
    const data = make("details", {}, make("summary", {}, "Data"));
    data.addEventListener("toggle", () => {
      if (data.open && data.children.length === 1) data.append(...plot.panels.flatMap(dataTable));
    });
    element.append(data);
    const width = drawn.host.clientWidth;
    plot.panels.forEach((_, number) => drawn.charts.push(drawPanel(drawn, number, width)));
    drawn.host.addEventListener("keydown", onKey(drawn));
    figures.set(plot.name, drawn);
    groups.set(plot.group, [...(groups.get(plot.group) ?? []), drawn]);
    new ResizeObserver(() => {
      const now = drawn.host.clientWidth;
      drawn.charts.forEach((chart, number) => {
        if (now && now !== chart.width) {
          const last = number === plot.panels.length - 1;
          chart.setSize({ width: now, height: heightOf(plot.panels[number], now, last) });
        }
      });
    }).observe(drawn.host);
  }

  // A long page draws what is near, and the rest before it is printed.

  const waiting = new Set(document.querySelectorAll("figure[data-plot]"));

  function drawOnce(element) {
    if (waiting.delete(element)) draw(element);
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      drawOnce(entry.target);
    }
  }, { rootMargin: "800px" });
  for (const element of waiting) watcher.observe(element);
  addEventListener("beforeprint", () => [...waiting].forEach(drawOnce));
})();
