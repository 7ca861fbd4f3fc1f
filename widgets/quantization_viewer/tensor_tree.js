// The tree of tensors: layers fold, each tensor has a bar for its error and its decibels. `rows` says which there are; `live` what they come
// to and is all that travels while an overview streams in. Arrow keys move and fold, Enter or a click picks. Names are set as textContent.

const made = (tag, className = "", text = "") => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== "") node.textContent = text;
  return node;
};

function render({model, el}) {
  el.classList.add("wb-tensor-tree-place");
  const table = made("table", "wb-table");
  table.setAttribute("role", "treegrid");
  table.setAttribute("aria-label", "Tensors");
  const head = made("div", "wb-tree-head"), scroll = made("div", "wb-tree-scroll"); // apart, so that no row scrolls under the heads
  for (const [text, kind] of [["tensor", ""], ["error", "bar"], ["dB", "num"]]) head.append(made("span", kind, text));
  head.setAttribute("aria-hidden", "true");
  scroll.append(table);
  el.append(head, scroll);
  let focused = null, again = false, lines = new Map();
  const send = message => model.send(message);

  const fill = () => {
    const live = model.get("live");
    for (const [id, [line, bar, words]] of lines) {
      const [text, share, kind] = Object.hasOwn(live, id) ? live[id] : ["", 0, ""];
      if (words.textContent !== text) words.textContent = text;
      bar.style.width = `${Math.round(100 * share)}%`;
      line.classList.toggle("wb-poor", kind === "poor");
      line.classList.toggle("wb-old", kind === "old");
    }
  };

  // What is listed now: groups with their members where they are open; everything that a search found, unfolded.
  const listed = () => {
    const rows = model.get("rows"), open = new Set(model.get("unfolded")), words = model.get("query").toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(row => words.every(word => row.name.toLowerCase().includes(word))), out = [];
    const sizes = new Map();
    for (const row of found) if (row.group) sizes.set(row.group, (sizes.get(row.group) ?? 0) + 1);
    let last = "";
    for (const row of found) {
      const shut = row.group && !words.length && !open.has(row.group);
      if (row.group && row.group !== last) out.push({id: "\0" + row.group, shown: row.heading, group: true, open: !shut, count: sizes.get(row.group)});
      last = row.group;
      if (!shut) out.push({id: row.name, shown: row.shown, name: row.name, title: row.title, inside: Boolean(row.group)});
    }
    return out;
  };

  const draw = () => {
    const picked = model.get("picked"), rows = listed();
    const had = table.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.id : null;
    const columns = made("thead", "wb-unseen"), top = made("tr"), body = made("tbody");
    for (const text of ["tensor", "error", "dB"]) {
      const th = made("th", "", text);
      th.scope = "col";
      top.append(th);
    }
    columns.append(top);
    lines = new Map();
    const reachable = rows.some(row => row.id === focused) ? focused : rows.some(row => row.id === picked) ? picked : rows[0]?.id;
    for (const row of rows) {
      const line = made("tr", row.id === picked ? "on" : "");
      line.dataset.id = row.id;
      line.tabIndex = row.id === reachable ? 0 : -1;
      line.setAttribute("aria-level", row.inside ? "2" : "1");
      const name = made("td", row.inside ? "clip wb-inside" : "clip");
      if (row.group) {
        line.setAttribute("aria-expanded", String(row.open));
        const mark = made("span", "wb-fold", row.open ? "⌄" : "›");
        mark.setAttribute("aria-hidden", "true");
        name.append(mark);
      } else line.setAttribute("aria-selected", String(row.id === picked));
      name.append(document.createTextNode(row.shown));
      name.title = row.title ?? `${row.shown}: ${row.count} tensors`;
      const bar = made("i"), track = made("span", "wb-error-bar"), place = made("td"), words = made("td", "num");
      track.append(bar);
      place.append(track);
      line.append(name, place, words);
      line.addEventListener("click", () => { focused = row.id; act(row.id); });
      line.addEventListener("focusin", () => move(line));
      lines.set(row.id, [line, bar, words]);
      body.append(line);
    }
    if (!rows.length) {
      const line = made("tr"), only = made("td", "wb-none", model.get("rows").length ? "No tensor has such a name." : model.get("empty"));
      only.colSpan = 3;
      line.append(only);
      body.append(line);
    }
    table.replaceChildren(columns, body);
    fill();
    if (had) [...body.children].find(child => child.dataset.id === had)?.focus({preventScroll: true});
    body.querySelector("tr.on")?.scrollIntoView({block: "nearest", inline: "nearest"});
  };

  const act = id => {
    if (id.startsWith("\0")) fold(id.slice(1));
    else send({kind: "pick", name: id});
  };
  const fold = (group, wanted = null) => {
    const open = new Set(model.get("unfolded"));
    if (wanted ?? !open.has(group)) open.add(group); else open.delete(group);
    model.set("unfolded", [...open]);
    model.save_changes();
  };
  const move = line => {
    if (!line?.dataset.id || line.dataset.id === focused) return;
    focused = line.dataset.id;
    for (const other of line.parentElement.children) other.tabIndex = other === line ? 0 : -1;
  };
  table.addEventListener("keydown", event => {
    const line = event.target.closest("tbody tr"), id = line?.dataset.id;
    if (!id) return;
    const group = id.startsWith("\0"), next = {ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling,
      Home: line.parentElement.firstElementChild, End: line.parentElement.lastElementChild}[event.key];
    if (next) { move(next); next.focus(); }
    else if (event.key === "Enter" || event.key === " ") act(id);
    else if (event.key === "ArrowRight" && group) fold(id.slice(1), true);
    else if (event.key === "ArrowLeft" && group) fold(id.slice(1), false);
    else if (!(event.key in {ArrowDown: 1, ArrowUp: 1})) return;
    event.preventDefault();
    event.stopPropagation();
  });

  const soon = () => { if (!again) { again = true; requestAnimationFrame(() => { again = false; draw(); }); } };
  const drawn = ["rows", "picked", "unfolded", "query", "empty"];
  for (const name of drawn) model.on("change:" + name, soon);
  model.on("change:live", fill);
  draw();
  return () => {
    for (const name of drawn) model.off("change:" + name, soon);
    model.off("change:live", fill);
  };
}

export default {render};
