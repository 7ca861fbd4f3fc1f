// The list of runs: a table with one row a run, drawn from `rows`. Rows are options of a listbox-like grid: arrow keys move, Enter or a click
// picks, Space on the check lays the run over the figure. Everything from a run is set as textContent.

const SHAPES = { // drawn beside the step; the status stands in words for screen readers and on hover
  running: ["M2.2 1.2v7.600l6.200-3.800z", "var(--wb-blue-text)", true],
  starting: ["M2.2 1.2v7.600l6.200-3.800z", "var(--wb-grey-text)", false],
  paused: ["M3 1.500v7M7 1.500v7", "var(--wb-ink-2)", false],
  queued: ["M5 1v4l2.500 1.500M9 5a4 4 0 1 1-8 0a4 4 0 0 1 8 0z", "var(--wb-ink-2)", false],
  stopped: ["M2 2h6v6h-6z", "var(--wb-ink-2)", true],
  failed: ["M2 2l6 6M8 2l-6 6", "var(--wb-vermillion-text)", false],
  died: ["M2 2l6 6M8 2l-6 6", "var(--wb-vermillion-text)", false],
};

function shape(status) {
  const box = document.createElement("span");
  box.className = "wb-run-state";
  if (SHAPES[status]) {
    const [path, colour, filled] = SHAPES[status];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [name, value] of [["width", 10], ["height", 10], ["viewBox", "0 0 10 10"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
    for (const [name, value] of [["d", path], ["stroke", colour], ["stroke-width", 1.5], ["fill", filled ? colour : "none"], ["stroke-linecap", "round"]]) line.setAttribute(name, value);
    svg.append(line);
    box.append(svg);
  }
  const words = document.createElement("span");
  words.className = "wb-unseen";
  words.textContent = status;
  box.append(words);
  return box;
}

function cell(text, kind) {
  const made = document.createElement("td");
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function render({model, el}) {
  el.classList.add("wb-run-list-place");
  const table = document.createElement("table");
  table.className = "wb-table";
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", "Runs");
  el.append(table);
  const send = (kind, id) => model.send({kind, id});
  let focused = null, sighted = null;

  const intoSight = (line, head) => { // scrolls the list alone, never the page
    const place = el.getBoundingClientRect(), box = line.getBoundingClientRect(), top = place.top + head.getBoundingClientRect().height;
    if (!place.height || !box.height) return false;
    if (box.top < top) el.scrollTop -= top - box.top;
    else if (box.bottom > place.top + el.clientHeight) el.scrollTop += box.bottom - place.top - el.clientHeight;
    return true;
  };

  const draw = () => {
    const rows = model.get("rows"), picked = model.get("picked"), overlays = new Set(model.get("overlays"));
    const had = table.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.id : null;
    const onCheck = document.activeElement?.type === "checkbox";
    const head = document.createElement("thead"), top = document.createElement("tr");
    for (const [text, kind] of [["run", ""], ["step", "num"], ["loss", "num"], ["+", "num"]]) {
      const th = document.createElement("th");
      th.textContent = text;
      th.className = kind;
      if (text === "+") th.title = "lay over the figure";
      top.append(th);
    }
    head.append(top);
    const body = document.createElement("tbody");
    const reachable = rows.some(row => row.id === focused) ? focused : rows.some(row => row.id === picked) ? picked : rows[0]?.id;
    for (const row of rows) {
      const line = document.createElement("tr");
      line.dataset.id = row.id;
      line.title = row.title;
      line.tabIndex = row.id === reachable ? 0 : -1;
      line.setAttribute("aria-selected", String(row.id === picked));
      if (row.id === picked) {
        line.className = "on";
        line.setAttribute("aria-current", "true");
      }
      const name = cell("", "clip");
      const label = document.createElement("span");
      label.textContent = (row.depth ? "\u00a0".repeat(2 * (row.depth - 1)) + "└ " : "") + row.shown;
      name.title = row.title;
      name.append(label);
      const step = cell("", "num");
      step.append(shape(row.status), document.createTextNode(" " + row.step));
      const check = document.createElement("input");
      Object.assign(check, {type: "checkbox", checked: overlays.has(row.id), disabled: row.id === picked, tabIndex: row.id === reachable ? 0 : -1});
      check.setAttribute("aria-label", `lay ${row.name} over the figure`);
      check.addEventListener("change", () => send("overlay", row.id));
      const over = cell("", "num");
      over.append(check);
      line.append(name, step, cell(row.loss, "num"), over);
      line.addEventListener("click", event => { if (event.target !== check && !check.contains(event.target)) { focused = row.id; send("pick", row.id); } });
      body.append(line);
    }
    if (!rows.length) {
      const line = document.createElement("tr"), only = cell(model.get("empty"), "wb-mute");
      only.colSpan = 4;
      line.append(only);
      body.append(line);
    }
    table.replaceChildren(head, body);
    const open = body.querySelector("tr.on");
    if (open && sighted !== picked && intoSight(open, head)) sighted = picked; // once: who scrolls on is not pulled back
    if (had) {
      const line = [...body.children].find(child => child.dataset.id === had);
      (onCheck ? line?.querySelector("input") : line)?.focus({preventScroll: true});
    }
  };

  table.addEventListener("keydown", event => {
    const line = event.target.closest("tbody tr");
    if (!line?.dataset.id) return;
    const move = {ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling, Home: line.parentElement.firstElementChild,
                  End: line.parentElement.lastElementChild}[event.key];
    if (move) {
      focused = move.dataset.id;
      for (const other of line.parentElement.children) {
        other.tabIndex = other === move ? 0 : -1;
        const check = other.querySelector("input");
        if (check) check.tabIndex = other.tabIndex;
      }
      move.focus();
    } else if (event.key === "Enter" || (event.key === " " && event.target === line)) send("pick", line.dataset.id);
    else if (!(event.key in {ArrowDown: 1, ArrowUp: 1, Home: 1, End: 1})) return;
    if (event.target.type !== "checkbox" || event.key !== " ") { event.preventDefault(); event.stopPropagation(); }
  });

  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
  for (const name of ["rows", "picked", "overlays", "empty"]) model.on("change:" + name, soon);
  draw();
  return () => { for (const name of ["rows", "picked", "overlays", "empty"]) model.off("change:" + name, soon); };
}

export default {render};
