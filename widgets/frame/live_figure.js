// Draws what live_figure.py sends. Holds the numbers of each trace as growing float64 columns, applies deltas, and gives plotly a
// figure at most once every `frame_ms`. Chooses the composition by the width of its place and resolves var(--...) colours against the
// page, again when the theme changes. Every word it shows is text; plotly makes SVG text of labels. Where the figure names axes that
// share a scale (`layout.meta.zoom`), a drag, + and - zoom into all of them together; the kernel sends every point of what is shown then.

const ASK_AGAIN_MS = 8000;
const POSTER_MS = 1500; // a kernel busy with a cell, or none at all: then the picture drawn in Python stands in
const UNSEEN = 12, UNSEEN_MS = 250; // how often, and when, a place without width is looked at again
const PACE = (globalThis.__wbPace ??= {free: 0}); // when the page's next figure may be drawn
const SLOW_MS = 50; // a drawing that took so long, or longer, leaves the page as much time for everything else
const REGISTRY = (globalThis.__wbPlotly ??= new Map()); // plotly version -> {promise, resolve, ready}
const PAGE = (globalThis.__wbPage ??= `${Date.now()}-${Math.random()}`); // by which a kernel knows that a copy is on its way here

// ---- plotly.js, once for each page

function entry(key) {
  if (!REGISTRY.has(key)) {
    const made = {ready: false, asked: false};
    made.promise = new Promise((resolve, reject) => Object.assign(made, {resolve, reject}));
    REGISTRY.set(key, made);
  }
  return REGISTRY.get(key);
}

async function install(key, buffer) {
  const made = entry(key);
  if (made.ready) return;
  made.ready = true;
  const bytes = new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength);
  const source = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  // Its own module and exports, so that neither an AMD loader nor another plotly on the page is touched.
  const slot = "__wbPlotlyModule";
  const url = URL.createObjectURL(new Blob([
    "(function(){var define,before=window.Plotly,module={exports:{}},exports=module.exports;\n", source,
    `\n;globalThis.${slot}=module.exports;if(before)window.Plotly=before;else delete window.Plotly;})();`], {type: "text/javascript"}));
  await new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), {src: url, onload: done});
    script.onerror = () => failed(new Error("the page could not run plotly.js from a Blob URL"));
    document.head.append(script);
  }).then(() => { made.resolve(globalThis[slot]); delete globalThis[slot]; }, error => { REGISTRY.delete(key); made.reject(error); });
  URL.revokeObjectURL(url);
}

function plotly(model, signal) {
  const key = model.get("plotly_key"), made = entry(key);
  if (made.ready) return made.promise;
  const ask = () => { if (!made.ready) model.send({kind: "plotly", page: PAGE}); };
  if (!made.asked) { made.asked = true; ask(); }
  // The kernel of the figure that asked may be gone, or busy with a long cell: each waiting figure then asks its own.
  const timer = setInterval(ask, ASK_AGAIN_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  return made.promise.finally(() => clearInterval(timer));
}

// ---- numbers and specs

const floats = view => new Float64Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

class Column {
  constructor(x, y) { this.xs = x; this.ys = y; this.n = x.length; }
  extend(x, y) {
    const need = this.n + x.length;
    if (need > this.xs.length) {
      const size = Math.max(need, 2 * this.xs.length, 64);
      const grow = old => { const made = new Float64Array(size); made.set(old.subarray(0, this.n)); return made; };
      this.xs = grow(this.xs); this.ys = grow(this.ys);
    }
    this.xs.set(x, this.n); this.ys.set(y, this.n); this.n = need;
  }
  get x() { return this.xs.subarray(0, this.n); }
  get y() { return this.ys.subarray(0, this.n); }
}

function patch(target, [path, ...value]) {
  const last = path.at(-1);
  const owner = path.slice(0, -1).reduce((node, key) => node[key], target);
  if (value.length) owner[last] = value[0]; else delete owner[last];
}

function resolver(style) {
  const seen = new Map();
  const token = name => { if (!seen.has(name)) seen.set(name, style.getPropertyValue(name).trim()); return seen.get(name); };
  const walk = node => {
    if (typeof node === "string") return node.includes("var(--") ? node.replace(/var\((--[\w-]+)\)/g, (all, name) => token(name) || all) : node;
    if (Array.isArray(node)) return typeof node[0] === "number" && typeof node.at(-1) === "number" ? node : node.map(walk);
    if (node && typeof node === "object" && !ArrayBuffer.isView(node)) return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, walk(value)]));
    return node;
  };
  return walk;
}

// ---- a view

function render({model, el}) {
  const id = crypto.randomUUID?.() ?? String(Math.random());
  const stop = new AbortController(), {signal} = stop;
  const place = document.createElement("div");
  el.classList.add("wb-fig");
  el.append(place);
  place.setAttribute("role", "img");

  let specs = {}, columns = new Map(), version = -1, stale = false, Plotly = null;
  let zoom = null, zooms = 0, whole = null; // the stretch of the shared axes that is shown (null: all), and all of it
  let revision = 0, frameAt = 0, waiting = false, wired = false, drawing = false, again = false, unseen = 0;

  const take = full => {
    specs = structuredClone(full.specs);
    columns = new Map(full.columns.map(([name], i) => [name, new Column(floats(full.pool[2 * i]), floats(full.pool[2 * i + 1]))]));
    version = full.version; stale = false;
    redraw();
  };
  const ready = () => model.send({kind: "ready", view: id, version: stale ? -1 : version});
  const delta = (message, buffers) => {
    if (stale || message.version <= version) return;
    if (message.version !== version + 1) { stale = true; ready(); return; }
    version = message.version;
    for (const step of message.steps ?? []) patch(specs, structuredClone(step));
    message.moved.forEach(([how, name], i) => {
      const x = floats(buffers[2 * i]), y = floats(buffers[2 * i + 1]);
      if (how === "extend" && columns.has(name)) columns.get(name).extend(x, y); else columns.set(name, new Column(x, y));
    });
    redraw(true);
  };
  const heard = (message, buffers) => {
    if (message.kind === "delta") delta(message, buffers);
    else if (message.kind === "full" && message.view === id) take({...message, pool: buffers});
    else if (message.kind === "plotly") install(model.get("plotly_key"), buffers[0]);
    else if (message.kind === "picture") picture(message.id);
  };

  const width = () => place.clientWidth;
  const widthClass = px => { // the limits of theme.width_class
    const names = px >= 780 ? ["wide", "medium", "narrow"] : px >= 400 ? ["medium", "narrow", "wide"] : ["narrow", "medium", "wide"];
    return names.find(name => specs[name]);
  };

  // The figure fills the column beside the controls; it is never lower than it was composed, and not so high that gaps gape.
  const room = () => {
    const main = el.closest(".wb-main"), controls = main?.parentElement?.querySelector(":scope > .wb-controls");
    if (!controls || controls.getBoundingClientRect().right > main.getBoundingClientRect().left + 1) return 0;
    const others = [...main.children].reduce((sum, child) => sum + (child.contains(el) ? 0 : child.offsetHeight + 16), 0);
    const content = [...controls.children].reduce((bottom, child) => Math.max(bottom, child.getBoundingClientRect().bottom), 0) - controls.getBoundingClientRect().top;
    return content - 16 - others;
  };

  const draw = async () => {
    const px = width(), name = widthClass(px);
    if (!px && Plotly && unseen < UNSEEN) { unseen++; setTimeout(redraw, UNSEEN_MS); } // a page that changes its theme hides all for a moment
    if (!Plotly || !px || !name) return;
    unseen = 0;
    if (drawing) { again = true; return; }
    drawing = true;
    const begun = performance.now();
    // A frame that came late does not hold up the next: each has its place in a row, up to half a place behind.
    const every = model.get("frame_ms");
    frameAt = Math.max(frameAt + every, performance.now() - every / 2);
    const style = getComputedStyle(el), walk = resolver(style), spec = specs[name];
    const data = spec.data.map(trace => walk(Object.fromEntries(Object.entries(trace).map(([key, value]) =>
      [key, value && typeof value === "object" && "$" in value ? columns.get(value.$)[value.k] : value]))));
    const layout = walk(spec.layout), composed = layout.height ?? 320, shared = layout.meta?.zoom ?? [];
    for (const axis of shared) {
      const own = layout[key(axis)];
      whole = own.range;
      own.fixedrange = false;
      own.range = [...(zoom ?? whole)]; // plotly writes into it as a hand drags
      if (zoom) Object.assign(own, {tickvals: undefined, ticktext: undefined, tickformat: ",~f"});
    }
    if (shared.length) {
      layout.dragmode = "zoom";
      place.tabIndex = 0;
      place.setAttribute("aria-keyshortcuts", "+ - ArrowLeft ArrowRight Escape");
    }
    const height = Math.round(Math.min(Math.max(composed, room()), 1.35 * composed));
    Object.assign(layout, {width: px, height, autosize: false, datarevision: ++revision, selectionrevision: revision, uirevision: `${name} ${zooms}`});
    try {
      await Plotly.react(place, data, layout, {displayModeBar: false, responsive: false, doubleClick: shared.length ? false : "reset+autosize"});
      wire();
      place.dataset.version = version; place.dataset.width = name; // what is drawn, for tests and for the curious
    } finally {
      drawing = false;
      // Else a page whose drawings take longer than the kernel's news are apart would draw for each of them, and fall behind without end.
      const took = performance.now() - begun;
      PACE.free = performance.now() + took * Math.min(1, took / SLOW_MS);
      if (again) { again = false; redraw(); }
    }
  };
  // News of the kernel is drawn as it comes, so that the frame that shows it is the very next; what the page itself asks for waits for its layout.
  const redraw = news => {
    if (waiting) return;
    waiting = true;
    const go = () => { waiting = false; if (!signal.aborted) draw(); };
    const frame = () => {
      const early = Math.max(frameAt + model.get("frame_ms"), PACE.free) - performance.now(); // another figure may have been drawn meanwhile
      if (early > 0) setTimeout(frame, early);
      else if (news === true && !document.hidden) go();
      else requestAnimationFrame(go);
    };
    frame();
  };

  // ---- zoom

  const key = axis => "xaxis" + axis.slice(1);
  const shared = () => specs[place.dataset.width]?.layout.meta?.zoom ?? [];
  const zoomTo = range => {
    if (range && whole) {
      const least = Math.min(...whole), most = Math.max(...whole), wide = Math.max(Math.abs(range[1] - range[0]), 4);
      const start = Math.min(Math.max(Math.min(...range), least), Math.max(most - wide, least));
      range = wide < most - least ? [start, start + wide] : null;
    }
    zoom = range;
    zooms++;
    for (const axis of shared()) model.send({kind: "range", axis, range});
    redraw();
  };
  const keyed = event => {
    const [low, high] = zoom ?? whole ?? [], wide = high - low;
    if (!shared().length || !(wide > 0) || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = {"+": () => [low + wide / 4, high - wide / 4], "=": () => [low + wide / 4, high - wide / 4], "-": () => [low - wide / 2, high + wide / 2],
      ArrowLeft: () => [low - wide / 4, high - wide / 4], ArrowRight: () => [low + wide / 4, high + wide / 4], Escape: () => null}[event.key];
    if (!to || !zoom && event.key !== "+" && event.key !== "=") return;
    event.preventDefault();
    event.stopPropagation();
    zoomTo(to());
  };
  place.addEventListener("keydown", keyed);
  place.setAttribute("data-lm-suppress-shortcuts", "true"); // + and - are keys of the notebook too

  const wire = () => {
    if (wired) return;
    wired = true;
    const where = points => ({trace: points[0].curveNumber, uid: points[0].data.uid ?? null});
    place.on("plotly_click", ({points}) => points.length && model.send({kind: "event", type: "click", width: place.dataset.width,
      ...where(points), index: points[0].pointNumber, x: points[0].x, y: points[0].y}));
    place.on("plotly_selected", event => {
      const traces = new Map();
      for (const point of event?.points ?? []) traces.set(point.curveNumber, [...(traces.get(point.curveNumber) ?? []), point]);
      for (const points of traces.values()) model.send({kind: "event", type: "select", width: place.dataset.width, ...where(points),
        index: points.map(p => p.pointNumber), x: points.map(p => p.x), y: points.map(p => p.y)});
    });
    // A brush is a choice and no zoom: the figure itself draws what came of it, so plotly's own box goes with the next drawing.
    const brushed = (axis, range) => { model.send({kind: "event", type: "brush", width: place.dataset.width, axis, range}); redraw(); };
    place.on("plotly_selected", event => {
      for (const [axis, range] of Object.entries(event?.range ?? {})) if (axis.startsWith("x")) brushed(axis, range.map(Number).sort((a, b) => a - b));
    });
    place.on("plotly_deselect", () => brushed("", null));
    place.on("plotly_doubleclick", () => { if (zoom) zoomTo(null); });
    place.on("plotly_relayout", change => {
      const axes = new Set(Object.keys(change).map(key => /^xaxis(\d*)\.(range|autorange)/.exec(key)?.[1]).filter(n => n !== undefined));
      if (axes.size && shared().length) {
        const [n] = axes;
        zoomTo(change[`xaxis${n}.autorange`] ? null : place._fullLayout["xaxis" + n].range.map(Number));
        return;
      }
      for (const n of axes) {
        const axis = place._fullLayout["xaxis" + n];
        model.send({kind: "range", axis: "x" + n, range: change[`xaxis${n}.autorange`] ? null : axis.range.map(Number)});
      }
    });
  };

  const picture = async number => {
    if (!Plotly || !place.dataset.version) return;
    const uri = await Plotly.toImage(place, {format: "svg", width: width(), height: place.offsetHeight});
    model.send({kind: "picture", id: number, svg: decodeURIComponent(uri.slice(uri.indexOf(",") + 1))});
  };

  const name = () => place.setAttribute("aria-label", model.get("summary"));
  name();
  const pale = () => el.classList.toggle("wb-stale", model.get("_dom_classes").includes("wb-stale")); // anywidget leaves later classes out
  pale();
  model.on("change:_dom_classes", pale);
  model.on("change:summary", name);
  model.on("msg:custom", heard);
  const resized = new ResizeObserver(redraw);
  resized.observe(el);
  const beside = new IntersectionObserver(() => { // the panel is in the page only after this view is made
    const controls = el.closest(".wb-body")?.querySelector(":scope > .wb-controls");
    if (controls) for (const child of controls.children) resized.observe(child);
  });
  beside.observe(el);
  const themed = new MutationObserver(redraw);
  themed.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"]});

  const full = model.get("_full");
  if (full?.specs) take(full);
  ready();
  const poster = setTimeout(() => {
    if (Plotly || !full?.poster) return;
    const picture = Object.assign(document.createElement("img"), {className: "wb-poster", alt: ""});
    picture.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(full.poster); // an image runs no script
    place.replaceChildren(picture);
  }, POSTER_MS);
  plotly(model, signal).then(found => { Plotly = found; clearTimeout(poster); place.replaceChildren(); redraw(); }, error => {
    clearTimeout(poster);
    place.textContent = `The figure cannot be drawn: ${error.message}. The sentence below says what it shows.`;
  });

  return () => {
    stop.abort();
    clearTimeout(poster);
    resized.disconnect(); beside.disconnect(); themed.disconnect();
    model.off("change:_dom_classes", pale);
    model.off("change:summary", name);
    model.off("msg:custom", heard);
    Plotly?.purge(place);
    model.send({kind: "gone", view: id});
  };
}

export default {render};
