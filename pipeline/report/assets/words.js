/* A report's data, and how numbers and elements are made of them. Text of the data set only ever becomes text nodes. */

const report = JSON.parse(document.getElementById("data").textContent);
const pictures = report.pictures;

const classes = report.classes.map(([id, name, kind, images, segments, drawn, pixels, score, stability]) =>
  ({ id, name, kind, images, segments, drawn, pixels, score, stability }));

const at = (id) => document.getElementById(id);
const whole = (value) => value.toLocaleString("en");
const fixed = (value) => (value === null ? "–" : value.toFixed(2));
const narrow = matchMedia("(max-width: 560px)");

function brief(value) {
  return value < 100000 ? whole(value) : Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

function percent(share) {
  if (share === null) return "–";
  if (share > 0 && share < 0.0005) return "<0.1%";
  return `${(share * 100).toFixed(1)}%`;
}

function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function plural(count, word, many = `${word}s`) {
  return `${whole(count)} ${count === 1 ? word : many}`;
}

/** An element: its properties, then its children; strings become text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of a chart. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function pairs(list, entries) {
  for (const [name, value, kind] of entries) list.append(make("dt", {}, name), make("dd", { className: kind || "" }, make("bdi", {}, value)));
}
