// The rows of the data explorer: a page of a sortable table, and the row under the cursor in full. Arrow keys move, d drops, k keeps, f flags,
// Space picks, u undoes. Everything from a row is set as textContent.

const KEYS = {d: "drop", k: "keep", f: "flag", " ": "pick"};
const GOES = {ArrowDown: "next", ArrowUp: "previous", PageDown: "page", PageUp: "page back", Home: "first", End: "last"};
const MARKS = {drop: ["dropped", "M2 2l6 6M8 2l-6 6", "var(--wb-vermillion-text)"], flag: ["flagged", "M2 9V1.5h6l-2 2.200 2 2.200H2", "var(--wb-orange-text)"]};
const NARROW = "\u202f";
const grouped = number => String(number).replace(/\B(?=(\d{3})+$)/g, NARROW);

function element(tag, className = "", text = null, attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function sign(mark) {
  const box = element("span", "wb-row-mark");
  for (const one of mark.split(" ").filter(Boolean)) {
    const [words, path, colour] = MARKS[one];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [key, value] of Object.entries({width: 10, height: 10, viewBox: "0 0 10 10", "aria-hidden": "true"})) svg.setAttribute(key, value);
    for (const [key, value] of Object.entries({d: path, stroke: colour, "stroke-width": 1.5, fill: "none", "stroke-linecap": "round"})) line.setAttribute(key, value);
    svg.append(line);
    box.append(svg, element("span", "wb-unseen", words));
  }
  return box;
}

// Text with the words that were searched for in <mark>, piece by piece as text nodes.
function marked(text, words) {
  const holder = document.createDocumentFragment(), low = text.toLowerCase();
  let at = 0;
  while (at < text.length && low.length === text.length) {
    let next = -1, long = 0;
    for (const word of words) {
      const found = word ? low.indexOf(word, at) : -1;
      if (found >= 0 && (next < 0 || found < next || (found === next && word.length > long))) { next = found; long = word.length; }
    }
    if (next < 0) break;
    holder.append(text.slice(at, next), element("mark", "", text.slice(next, next + long)));
    at = next + long;
  }
  holder.append(text.slice(at));
  return holder;
}

function render({model, el}) {
  el.classList.add("wb-rows-place");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // d, k and f are keys of the notebook too: two d's would delete the cell
  const list = element("div", "wb-rows-list"), table = element("table", "wb-table"), foot = element("div", "wb-rows-foot");
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", "Rows");
  table.setAttribute("aria-keyshortcuts", "d k f u Space");
  const back = element("button", "jupyter-button", "Previous page", {type: "button"}), on = element("button", "jupyter-button", "Next page", {type: "button"});
  const where = element("span", "wb-rows-where", "", {"aria-live": "polite"});
  foot.append(back, on, where);
  list.append(table, foot);
  const pane = element("section", "wb-row-detail", null, {"aria-label": "The row in full", tabindex: "0"});
  el.append(list, pane);
  const send = message => model.send(message);
  back.addEventListener("click", () => send({kind: "go", to: "page back"}));
  on.addEventListener("click", () => send({kind: "go", to: "page"}));

  const draw = () => {
    const {head = [], rows = [], start = 0, total = 0, cursor = -1, empty = ""} = model.get("shown");
    const active = document.activeElement, inBody = table.contains(active) && active.closest("tbody"), key = table.contains(active) ? active.dataset?.key : null;
    const top = element("tr");
    for (const {key, label, num, sorted, title} of head) {
      const th = element("th", num ? "num" : "", null, {"aria-sort": sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : "none"});
      const button = element("button", "wb-sort", label, {type: "button", title: title || `sort by ${label}`});
      button.dataset.key = key;
      if (sorted) button.append(element("span", "", sorted === "asc" ? " ▲" : " ▼", {"aria-hidden": "true"}));
      button.addEventListener("click", () => send({kind: "sort", key}));
      th.append(button);
      top.append(th);
    }
    const thead = element("thead"), body = element("tbody");
    thead.append(top);
    for (const {row, cells, mark, picked} of rows) {
      const line = element("tr", [row === cursor ? "on" : "", mark.includes("drop") ? "wb-dropped" : "", picked ? "wb-picked" : ""].filter(Boolean).join(" "));
      line.dataset.id = row;
      line.tabIndex = row === cursor ? 0 : -1;
      line.setAttribute("aria-selected", String(picked));
      cells.forEach((text, k) => {
        const {num, wide, key} = head[k];
        const cell = element("td", num ? "num" : wide ? "clip" : "", text);
        if (wide) cell.title = text;
        if (key === "mark") cell.replaceChildren(sign(mark));
        line.append(cell);
      });
      line.addEventListener("click", () => { send({kind: "cursor", row}); line.focus({preventScroll: true}); });
      body.append(line);
    }
    if (!rows.length) {
      const line = element("tr"), only = element("td", "wb-word-mute", empty);
      only.colSpan = head.length || 1;
      line.append(only);
      body.append(line);
    }
    table.replaceChildren(thead, body);
    where.textContent = total ? `${grouped(start + 1)} to ${grouped(start + rows.length)} of ${grouped(total)} shown` : "none shown";
    back.disabled = start <= 0;
    on.disabled = start + rows.length >= total;
    if (inBody) (body.querySelector("tr[tabindex='0']") ?? body.querySelector("tr[data-id]"))?.focus({preventScroll: true});
    else if (key) table.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({preventScroll: true});
  };

  const read = () => {
    const {row = -1, mark = "", fields = [], notes = [], others = [], words = []} = model.get("detail");
    const held = pane.contains(document.activeElement) ? document.activeElement.dataset?.how : null;
    const parts = [];
    if (row >= 0) {
      const title = element("div", "wb-between"), buttons = element("div", "wb-row-acts");
      title.append(element("h3", "", `Row ${grouped(row)}${mark ? ", " + mark.split(" ").map(one => MARKS[one][0]).join(" and ") : ""}`), buttons);
      for (const [how, label, key] of [["drop", "Drop", "d"], ["keep", "Keep", "k"], ["flag", "Flag", "f"]]) {
        const button = element("button", "jupyter-button", label, {type: "button", title: `${label.toLowerCase()} this row (${key})`, "aria-keyshortcuts": key});
        button.dataset.how = how;
        button.addEventListener("click", () => send({kind: "mark", how}));
        buttons.append(button);
      }
      parts.push(title);
      for (const note of notes) parts.push(element("p", "wb-row-note", note));
      for (const [name, text] of fields) {
        const block = element("div", "wb-field");
        const body = element("p", "wb-field-text");
        body.append(marked(text, words));
        block.append(element("span", "wb-hint", name), body);
        parts.push(block);
      }
      for (const {row, label, text} of others) {
        const block = element("div", "wb-field wb-other");
        block.append(element("span", "wb-hint", label));
        const body = element("p", "wb-field-text", text);
        if (row >= 0) {
          const go = element("button", "jupyter-button wb-quiet", "Show it", {type: "button"});
          go.addEventListener("click", () => send({kind: "cursor", row}));
          block.append(go);
        }
        block.append(body);
        parts.push(block);
      }
    } else parts.push(element("p", "wb-hint", "Pick a row to read it in full."));
    pane.replaceChildren(...parts);
    if (held) pane.querySelector(`[data-how="${held}"]`)?.focus({preventScroll: true});
  };

  el.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const line = event.target.closest("tbody tr[data-id]"), inPane = event.target === pane;
    if (!line && !inPane) return;
    if (line && event.key in GOES) {
      const near = {ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling}[event.key];
      if (near?.dataset.id) { near.tabIndex = 0; line.tabIndex = -1; near.focus({preventScroll: true}); send({kind: "cursor", row: Number(near.dataset.id)}); }
      else send({kind: "go", to: GOES[event.key]});
    } else if (event.key.toLowerCase() in KEYS && !(inPane && event.key === " ")) send({kind: "mark", how: KEYS[event.key.toLowerCase()]});
    else if (event.key === "u") send({kind: "undo"});
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const soon = call => { let waiting = false; return () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; call(); }); } }; };
  const redraw = soon(draw), reread = soon(read);
  model.on("change:shown", redraw);
  model.on("change:detail", reread);
  draw();
  read();
  return () => { model.off("change:shown", redraw); model.off("change:detail", reread); };
}

export default {render};
