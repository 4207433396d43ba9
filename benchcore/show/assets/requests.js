// The table of requests: unpacks the columns in the element `requests`, sorts and filters them, and
// shows the parts of a request. Only the rows that are in view are elements.
"use strict";
(async () => {
  const ROW = 30; // pixels; the style says the same
  const SPARE = 10; // rows above and below those in view
  const place = document.getElementById("request-table");
  const said = JSON.parse(document.getElementById("requests").textContent);

  // Columns.

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Numbers lie by their bytes: the lowest of all, then the next of all.
  function whole(bytes, start, width, rows) {
    const values = new Float64Array(rows);
    for (let plane = width - 1; plane >= 0; plane -= 1) {
      const from = start + plane * rows;
      for (let i = 0; i < rows; i += 1) values[i] = values[i] * 256 + bytes[from + i];
    }
    return values;
  }

  function columnsOf(bytes) {
    const columns = new Map();
    let start = 0;
    for (const column of said.columns) {
      if (column.kind === "lines") {
        const text = new TextDecoder().decode(bytes.subarray(start, start + column.bytes));
        columns.set(column.name, { text: text.split("\n") });
        start += column.bytes;
        continue;
      }
      const values = whole(bytes, start, column.width, said.rows);
      start += column.width * said.rows;
      if (column.kind === "words") {
        const text = Array.from(values, (code) => column.words[code]);
        columns.set(column.name, { text, words: column.words });
        continue;
      }
      // 0 stands for what is not known.
      const { low, step } = column;
      columns.set(column.name, {
        number: values.map((value) => (value ? low + (value - 1) * step : NaN)),
      });
    }
    return columns;
  }

  if (!("DecompressionStream" in window)) {
    place.textContent = "This browser cannot unpack the table: it has no DecompressionStream.";
    return;
  }
  const columns = columnsOf(await unpack(said.packed));
  const parts = new Map(said.parts.map((part) => [part.key, part]));

  // What is shown of them; spans are in milliseconds.

  function milliseconds(value) {
    const ms = value * 1e3;
    return ms >= 1000 ? ms.toLocaleString("en", { maximumFractionDigits: 0 }) : ms.toPrecision(4);
  }

  const SHOWN = [
    { key: "index", head: "request" },
    { key: "level", head: "level" },
    { key: "stage", head: "stage" },
    { key: "outcome", head: "outcome" },
    { key: "scheduled", head: "planned s", name: "planned", show: (value) => value.toFixed(3) },
    { key: "late", head: "late ms", show: milliseconds, scale: 1e3 },
    { key: "ttft", head: "TTFT ms", show: milliseconds, scale: 1e3 },
    { key: "decode", head: "decode ms", show: milliseconds, scale: 1e3 },
    { key: "e2e", head: "e2e ms", show: milliseconds, scale: 1e3 },
    { key: "prompt_tokens", head: "tokens in", name: "in" },
    { key: "output_tokens", head: "tokens out", name: "out" },
    { key: "cached_tokens", head: "cached", name: "cached" },
    { key: "class", head: "class" },
    { key: "turn", head: "turn" },
    { key: "worker", head: "worker" },
    { key: "status", head: "status" },
    { key: "error", head: "error" },
  ].filter(({ key }) => columns.has(key));
  for (const column of SHOWN) {
    column.name ??= column.key;
    Object.assign(column, columns.get(column.key));
  }

  function cell(column, row) {
    if (column.text) return column.text[row] || "–";
    const value = column.number[row];
    if (Number.isNaN(value)) return "–";
    return column.show ? column.show(value) : String(value);
  }

  // Elements.

  function make(tag, given = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function choice(key, label) {
    const words = columns.get(key)?.words ?? [];
    if (words.length < 2) return null;
    const select = make("select", {}, make("option", { value: "" }, "all"));
    for (const word of words.filter((one) => one)) select.append(make("option", {}, word));
    select.addEventListener("change", refilter);
    return { key, select, label: make("label", {}, label, select) };
  }

  const choices = [choice("level", "Level"), choice("stage", "Stage"), choice("outcome", "Outcome")]
    .filter((one) => one);
  const search = make("input", { type: "search", placeholder: "words, or ttft>200 out<16" });
  const count = make("p", { class: "count", role: "status" });
  const filters = make("div", { class: "filters" });
  filters.append(
    ...choices.map(({ label }) => label),
    make("label", { class: "search" }, "Filter: words, and limits such as ttft>200 (in ms)", search),
  );
  search.addEventListener("input", refilter);

  const table = make("table", { "aria-label": "Requests" });
  const heads = SHOWN.map((column) => {
    const head = make("th", { scope: "col", class: column.text ? "text" : "number" });
    const sort = make("button", { type: "button", class: "sort" }, column.head);
    sort.addEventListener("click", () => sortBy(column));
    head.append(sort);
    return head;
  });
  const body = make("tbody");
  table.append(make("thead", {}, make("tr", { "aria-rowindex": "1" }, ...heads)), body);
  const view = make("div", { class: "rows", role: "group", "aria-label": "Requests" });
  view.append(table);
  view.addEventListener("scroll", () => requestAnimationFrame(render));
  new ResizeObserver(render).observe(view);
  const detail = make("section", { class: "detail", "aria-label": "Parts of a request" });
  detail.hidden = true;
  place.append(filters, count, make("div", { class: "split" }, view, detail));

  // Which rows, in which order.

  let order = new Uint32Array(0);
  let sorted = null;
  let chosen = -1;

  const LIMIT = /^([\p{L}\p{N}_]+)(<=|>=|<|>|=)(-?[\d.]+)$/u;
  const HOLDS = {
    "<": (one, other) => one < other,
    ">": (one, other) => one > other,
    "<=": (one, other) => one <= other,
    ">=": (one, other) => one >= other,
    "=": (one, other) => one === other,
  };

  // A term of the filter as a test of a row; null: there is no such column.
  function test(term) {
    const limit = LIMIT.exec(term);
    if (!limit) {
      const wanted = term.toLowerCase();
      const texts = [...columns.values()].filter(({ text }) => text);
      return (row) => texts.some(({ text }) => text[row].toLowerCase().includes(wanted));
    }
    const [, name, sign, bound] = limit;
    const column = SHOWN.find((one) => one.number && one.name === name.toLowerCase());
    if (!column) return null;
    const value = Number(bound);
    return (row) => HOLDS[sign](column.number[row] * (column.scale ?? 1), value);
  }

  function refilter() {
    const tests = choices
      .filter(({ select }) => select.value)
      .map(({ key, select }) => (row) => columns.get(key).text[row] === select.value);
    const terms = search.value.split(/\s+/).filter((term) => term);
    const unknown = terms.filter((term) => test(term) === null);
    search.setAttribute("aria-invalid", String(unknown.length > 0));
    tests.push(...terms.map(test).filter((one) => one));
    const rows = [];
    for (let row = 0; row < said.rows; row += 1) {
      if (tests.every((holds) => holds(row))) rows.push(row);
    }
    order = Uint32Array.from(rows);
    resort();
    const names = SHOWN.filter((one) => one.number).map((one) => one.name).join(", ");
    count.textContent = unknown.length
      ? `${unknown[0]}: limits are on ${names}`
      : `${order.length.toLocaleString("en")} of ${said.rows.toLocaleString("en")} requests`;
  }

  function sortBy(column) {
    const down = sorted?.column === column ? !sorted.down : !column.text;
    sorted = { column, down };
    heads.forEach((head, i) => {
      if (SHOWN[i] === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      const mark = SHOWN[i] === column ? (down ? " ↓" : " ↑") : "";
      head.firstChild.textContent = SHOWN[i].head + mark;
    });
    resort();
  }

  function resort() {
    if (sorted) {
      const { column, down } = sorted;
      const sign = down ? -1 : 1;
      const compare = column.text
        ? (one, other) => sign * (column.text[one] > column.text[other]) - sign * (column.text[one] < column.text[other])
        : (one, other) => {
            const [left, right] = [column.number[one], column.number[other]];
            // What is not known comes last, up or down.
            if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
            return sign * (left - right);
          };
      order.sort((one, other) => compare(one, other) || one - other);
    }
    table.setAttribute("aria-rowcount", String(order.length + 1));
    view.scrollTop = 0;
    render();
  }

  // The rows in view.

  function space(rows) {
    const made = make("tr", { class: "space", "aria-hidden": "true" });
    const filler = make("td", { colspan: String(SHOWN.length) });
    filler.style.height = `${rows * ROW}px`;
    made.append(filler);
    return made;
  }

  function rowOf(at) {
    const row = order[at];
    const made = make("tr", { "aria-rowindex": String(at + 2) });
    if (row === chosen) made.setAttribute("aria-selected", "true");
    SHOWN.forEach((column, i) => {
      if (i) {
        const shown = make("td", { class: column.text ? "text" : "number" }, cell(column, row));
        if (column.text) shown.title = column.text[row];
        made.append(shown);
        return;
      }
      const open = make("button", { type: "button" }, cell(column, row));
      open.setAttribute("aria-label", `Parts of request ${cell(column, row)}`);
      made.append(make("th", { scope: "row" }, open));
    });
    made.dataset.at = String(at);
    return made;
  }

  function render() {
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - SPARE);
    const last = Math.min(order.length, first + Math.ceil(view.clientHeight / ROW) + 2 * SPARE);
    const focused = document.activeElement?.closest?.("tr[data-at]")?.dataset.at;
    const rows = [];
    for (let at = first; at < last; at += 1) rows.push(rowOf(at));
    const above = first ? [space(first)] : [];
    const below = last < order.length ? [space(order.length - last)] : [];
    body.replaceChildren(...above, ...rows, ...below);
    if (focused !== undefined) {
      body.querySelector(`tr[data-at="${focused}"] button`)?.focus({ preventScroll: true });
    }
  }

  function choose(at) {
    chosen = order[at];
    const top = at * ROW;
    const height = view.clientHeight - 2 * ROW;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top > view.scrollTop + height) view.scrollTop = top - height;
    show(chosen);
    render();
    body.querySelector(`tr[data-at="${at}"] button`)?.focus({ preventScroll: true });
  }

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-at]");
    if (row) choose(Number(row.dataset.at));
  });
  body.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr[data-at]");
    if (!by || !row) return;
    event.preventDefault();
    const at = Math.min(Math.max(Number(row.dataset.at) + by, 0), order.length - 1);
    choose(at);
  });

  // The parts of one request.

  const TOGETHER = "from when it was due until its end had been read";

  function show(row) {
    const known = said.parts
      .map(({ key, title, how }) => ({ title, how, value: columns.get(key)?.number[row] ?? NaN }))
      .filter(({ value }) => !Number.isNaN(value));
    const total = known.reduce((sum, { value }) => sum + value, 0);
    const index = columns.get("index")?.number[row];
    const heading = make("h3", {}, `Request ${index ?? row}, level ${columns.get("level").text[row]}`);
    const close = make("button", { type: "button", class: "plain" }, "Close");
    close.addEventListener("click", () => {
      detail.hidden = true;
      chosen = -1;
      render();
    });
    const bar = make("div", { class: "bar", "aria-hidden": "true" });
    const lines = make("tbody");
    for (const [i, { title, how, value }] of known.entries()) {
      const piece = make("i", { class: `s${i % 7}`, title });
      piece.style.flexGrow = String(Math.max(value, 0) / (total || 1));
      bar.append(piece);
      const mark = make("span", { class: `s${i % 7}`, "aria-hidden": "true" }, "■ ");
      const share = total ? `${((100 * value) / total).toFixed(1)} %` : "–";
      lines.append(make(
        "tr", {},
        make("th", { scope: "row" }, mark, title, make("small", {}, how)),
        make("td", {}, milliseconds(value)),
        make("td", {}, share),
      ));
    }
    lines.append(make(
      "tr", {},
      make("th", { scope: "row" }, "together", make("small", {}, TOGETHER)),
      make("td", {}, milliseconds(total)),
      make("td", {}, "100 %"),
    ));
    const scoped = ["part", "ms", "share"].map((text) => make("th", { scope: "col" }, text));
    const told = make("table", {}, make("thead", {}, make("tr", {}, ...scoped)), lines);
    const wide = make("div", { class: "wide", role: "group", tabindex: "0", "aria-label": "Parts" }, told);
    const facts = make("dl", { class: "facts" });
    for (const [name, column] of columns) {
      if (parts.has(name)) continue;
      const shown = SHOWN.find(({ key }) => key === name);
      const text = cell(shown ?? column, row);
      if (text === "–") continue;
      facts.append(make("div", {}, make("dt", {}, shown?.head ?? name.replaceAll("_", " ")), make("dd", {}, text)));
    }
    const content = known.length ? [bar, wide] : [make("p", {}, "It is not known when it ended, and so not how long its parts took.")];
    detail.replaceChildren(make("div", { class: "plot-head" }, heading, close), ...content, facts);
    detail.hidden = false;
  }

  refilter();
})();
