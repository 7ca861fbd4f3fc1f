// The table of sources. `rows` says what each source is and builds the table; `live` changes while a slider moves and only rewrites three
// cells a row. Arrow keys move between rows, Enter or a click picks one, Tab goes through what can be set in the row where the focus is.
// Everything from a source is set as textContent.

const HEAD = [["source", "", ""], ["rows", "num", ""], ["tokens", "num", "c-more"], ["tokens a row", "num", "c-mean"], ["copies %", "num", "c-copies"],
  ["natural %", "num", "c-natural"], ["mixed %", "num", "c-mixed"], ["epochs", "num", ""]];

const made = (tag, className = "", text = "") => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== "") node.textContent = text;
  return node;
};

function render({model, el}) {
  el.classList.add("wb-source-table-place");
  const table = made("table", "wb-table");
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", "Sources");
  el.append(table);
  let focused = null, cells = new Map(), again = false;
  const set = (name, field, value) => model.send({kind: "set", name, field, value});

  const number = row => {
    const input = made("input", "wb-factor"), what = model.get("by_hand") ? "weight" : "factor";
    Object.assign(input, {type: "text", inputMode: "decimal", autocomplete: "off", value: String(row.value)});
    input.setAttribute("aria-label", `${what} of ${row.called}`);
    input.dataset.field = "value";
    const take = () => {
      const value = Number(input.value.trim().replace("×", "").replace(",", ".") || NaN);
      const good = Number.isFinite(value) && value >= 0 && value < 1e9;
      input.setAttribute("aria-invalid", String(!good));
      input.closest("td").classList.toggle("wb-bad", !good);
      input.title = good ? "" : "Type a number of at least 0, such as 2.";
      if (good && value !== row.value) set(row.name, "value", value);
    };
    input.addEventListener("change", take);
    input.addEventListener("keydown", event => {
      if (event.key === "Enter") take();
      if (event.key === "Escape") { input.value = String(row.value); take(); }
      if (event.key === "ArrowUp" || event.key === "ArrowDown") { // a step of a quarter, as a slider would
        const now = Number(input.value.replace(",", ".")) || 0;
        input.value = String(Math.max(0, Math.round(4 * now + (event.key === "ArrowUp" ? 1 : -1)) / 4));
        take();
        event.preventDefault();
      }
      if (!["Tab", "Shift"].includes(event.key)) event.stopPropagation();
    });
    return input;
  };
  const stage = row => {
    const button = made("button", "jupyter-button wb-stage", String(row.stage));
    button.type = "button";
    button.dataset.field = "stage";
    button.title = "change the stage";
    button.setAttribute("aria-label", `stage of ${row.called}: ${row.stage}`);
    button.addEventListener("click", () => set(row.name, "stage", 3 - row.stage));
    return button;
  };
  const out = row => {
    const check = made("input");
    Object.assign(check, {type: "checkbox", checked: row.out});
    check.dataset.field = "out";
    check.setAttribute("aria-label", `hold out the task ${row.task}`);
    check.title = row.hold;
    check.addEventListener("change", () => set(row.name, "out", check.checked));
    return check;
  };

  const fill = () => {
    const live = model.get("live");
    for (const [name, [natural, mixed, epochs, line]] of cells) {
      const [a, b, c, over] = Object.hasOwn(live, name) ? live[name] : ["–", "–", "–", false];
      if (natural.textContent !== a) natural.textContent = a;
      if (mixed.textContent !== b) mixed.textContent = b;
      if (epochs.textContent !== c) epochs.textContent = c;
      epochs.classList.toggle("wb-word-bad", Boolean(over));
      line.classList.toggle("wb-over", Boolean(over));
    }
  };

  const draw = () => {
    const rows = model.get("rows"), stages = model.get("stages"), picked = new Set(model.get("picked"));
    const active = table.contains(document.activeElement) ? document.activeElement : null;
    const had = active?.closest("tr")?.dataset.id, field = active?.dataset.field;
    const head = made("thead"), top = made("tr"), body = made("tbody");
    for (const [text, kind, place] of [...HEAD, [model.get("by_hand") ? "weight" : "×", "num", ""], ...(stages ? [["stage", "num", ""]] : []),
                                       ["held out", "num", ""]]) {
      const th = made("th", [kind, place].filter(Boolean).join(" "), text);
      th.scope = "col";
      top.append(th);
    }
    head.append(top);
    cells = new Map();
    const reachable = rows.some(row => row.name === focused) ? focused : rows.find(row => picked.has(row.name))?.name ?? rows[0]?.name;
    for (const row of rows) {
      const line = made("tr", [picked.has(row.name) && "on", row.out && "wb-out"].filter(Boolean).join(" "));
      line.dataset.id = row.name;
      line.tabIndex = row.name === reachable ? 0 : -1;
      line.setAttribute("aria-selected", String(picked.has(row.name)));
      const name = made("td", "clip", row.shown);
      name.title = row.title;
      const live = [made("td", "num c-natural"), made("td", "num c-mixed"), made("td", "num")];
      const value = made("td", "num"), held = made("td", "num");
      const factor = number(row), check = out(row);
      value.append(factor);
      held.append(check);
      line.append(name, made("td", "num", row.rows), made("td", "num c-more", row.tokens), made("td", "num c-mean", row.mean),
        made("td", "num c-copies", row.copies), ...live, value);
      const settable = [factor];
      if (stages) {
        const cell = made("td", "num"), button = stage(row);
        cell.append(button);
        line.append(cell);
        settable.push(button);
      }
      line.append(held);
      settable.push(check);
      for (const node of settable) node.tabIndex = row.name === reachable ? 0 : -1;
      line.addEventListener("click", event => { if (!event.target.closest("input, button")) { focused = row.name; model.send({kind: "pick", name: row.name}); } });
      line.addEventListener("focusin", () => move(line));
      cells.set(row.name, [...live, line]);
      body.append(line);
    }
    table.replaceChildren(head, body);
    fill();
    if (had) {
      const line = [...body.children].find(child => child.dataset.id === had);
      (field ? line?.querySelector(`[data-field="${field}"]`) : line)?.focus({preventScroll: true});
    }
  };

  const move = line => {
    if (!line?.dataset.id || line.dataset.id === focused) return;
    focused = line.dataset.id;
    for (const other of line.parentElement.children) {
      for (const node of [other, ...other.querySelectorAll("input, button")]) node.tabIndex = other === line ? 0 : -1;
    }
  };
  table.addEventListener("keydown", event => {
    const line = event.target.closest("tbody tr");
    if (!line?.dataset.id) return;
    const next = {ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling, Home: line.parentElement.firstElementChild,
                  End: line.parentElement.lastElementChild}[event.key];
    if (next) { move(next); next.focus(); } else if (event.target === line && (event.key === "Enter" || event.key === " ")) model.send({kind: "pick", name: line.dataset.id});
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const soon = () => { if (!again) { again = true; requestAnimationFrame(() => { again = false; draw(); }); } };
  for (const name of ["rows", "picked", "by_hand", "stages"]) model.on("change:" + name, soon);
  model.on("change:live", fill);
  draw();
  return () => {
    for (const name of ["rows", "picked", "by_hand", "stages"]) model.off("change:" + name, soon);
    model.off("change:live", fill);
  };
}

export default {render};
