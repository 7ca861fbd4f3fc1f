// A label, a field with the exact number, and a range over decades whose stops are round numbers. Its elements carry the class names
// of ipywidgets' sliders, so panel.css and status_line.js treat it as one of them. Text only.

const ROUND = [1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9];

const powers = value => value.toExponential().replace("e+", "e"); // the shortest that gives the same number again: 3e-4, 3.16e-4
const grouped = value => { // 100 000 with narrow spaces, 2, 0.5
  const [whole, part] = String(Number(value.toPrecision(12))).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? `.${part}` : "");
};
const close = (a, b) => Math.abs(a - b) <= 1e-9 * Math.abs(b);

function stopsOf(low, high, home, given) {
  const stops = [...given];
  if (!stops.length) for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const digit of ROUND) stops.push(Number(`${digit}e${power}`));
  if (home > 0 && !stops.some(stop => close(stop, home))) stops.push(home);
  return stops.filter(stop => stop >= low * (1 - 1e-9) && stop <= high * (1 + 1e-9)).sort((a, b) => a - b);
}

function render({model, el}) {
  el.classList.add("widget-inline-hbox", "wb-log-slider");
  const label = document.createElement("label"), range = document.createElement("input"), field = document.createElement("input");
  const fault = document.createElement("span");
  const id = `wb-${crypto.randomUUID?.() ?? Math.random()}`;
  label.className = "widget-label";
  label.htmlFor = id;
  field.className = "wb-number";
  Object.assign(range, {type: "range", id, min: "0", step: "1"});
  Object.assign(field, {type: "text", inputMode: "decimal", autocomplete: "off", spellcheck: false});
  fault.className = "wb-error";
  fault.setAttribute("role", "alert");
  el.append(label, field, range, fault);

  let stops = [];
  const words = value => (model.get("grouped") ? grouped : powers)(value);
  const nearest = value => {
    const far = stop => Math.abs(Math.log(stop / value));
    return stops.reduce((best, stop, k) => (far(stop) < far(stops[best]) ? k : best), 0);
  };
  const mark = () => el.classList.toggle("wb-bad", Boolean(fault.textContent) || model.get("_dom_classes").includes("wb-bad"));
  const complain = text => {
    fault.textContent = text;
    fault.hidden = !text;
    mark();
  };
  const show = () => {
    const value = model.get("value"), name = model.get("description");
    stops = stopsOf(model.get("min"), model.get("max"), model.get("home"), model.get("stops"));
    const k = nearest(value);
    label.textContent = name;
    range.setAttribute("aria-label", name);
    field.setAttribute("aria-label", `${name}, value`);
    range.max = String(stops.length - 1);
    range.value = String(k);
    el.style.setProperty("--wb-share", String(k / Math.max(1, stops.length - 1)));
    range.setAttribute("aria-valuetext", words(value));
    if (!field.dataset.typed) { // a fault goes with the text that it is about
      field.value = words(value);
      complain("");
    }
    field.size = Math.max(4, field.value.length);
    range.disabled = field.disabled = model.get("disabled");
  };
  const put = value => {
    delete field.dataset.typed;
    if (value !== model.get("value")) { model.set("value", value); model.save_changes(); }
    show();
  };
  const typed = () => {
    if (!field.dataset.typed) return;
    const value = Number(field.value.replace(/\s/g, "").replace(",", ".") || NaN);
    if (value > 0 && Number.isFinite(value)) put(value);
    else complain(`Type a number above 0, such as ${words(model.get("home") || 3e-4)}.`);
  };
  const back = event => { if (event.key === "Escape") { event.stopPropagation(); put(model.get("home") || model.get("value")); } };
  const moved = () => put(stops[Number(range.value)]);

  range.addEventListener(model.get("live") ? "input" : "change", moved);
  range.addEventListener("keydown", event => {
    const up = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
    back(event);
    if (!up || range.disabled) return;
    // From a value between two stops a key goes to the next one, not past it.
    const value = model.get("value"), beyond = stops.filter(stop => !close(stop, value) && (up > 0 ? stop > value : stop < value));
    event.preventDefault();
    if (beyond.length) put(up > 0 ? beyond[0] : beyond.at(-1));
  });
  field.addEventListener("input", () => { field.dataset.typed = "1"; complain(""); });
  field.addEventListener("keydown", event => { event.stopPropagation(); if (event.key === "Enter") typed(); back(event); });
  field.addEventListener("focus", () => field.select());
  field.addEventListener("blur", () => { // a wrong text stays, with its fault, until it is mended or the kernel has another value
    typed();
    delete field.dataset.typed;
    if (!fault.textContent) show();
  });
  const names = ["value", "home", "min", "max", "disabled", "description", "stops", "grouped"];
  for (const name of names) model.on("change:" + name, show);
  model.on("change:_dom_classes", mark); // what Python marks as wrong
  show();
  return () => {
    for (const name of names) model.off("change:" + name, show);
    model.off("change:_dom_classes", mark);
  };
}

export default {render};
