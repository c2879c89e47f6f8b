"use strict";
// Draws the time series of the report as SVG; no library, no network.

const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 560, height: 210, left: 62, right: 8, top: 10, bottom: 24 };
const data = JSON.parse(document.getElementById("data").textContent);

function node(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

// A day has more seconds than a call may have arguments.
function largest(values, least) {
  return values.reduce((found, value) => (value > found ? value : found), least);
}

function niceStep(most, count) {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= rough);
}

const formats = {
  bitrate: (v) => scaled(v, "bit/s"),
  count: (v) => (v >= 10000 ? scaled(v, "") : String(Math.round(v * 10) / 10)),
  cores: (v) => (Math.round(v * 100) / 100).toString(),
  milliseconds: (v) => `${Math.round(v * 10) / 10} ms`,
  megabytes: (v) => `${Math.round(v)} MB`,
};

function scaled(value, unit) {
  for (const [limit, prefix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= limit) return `${Number((value / limit).toPrecision(3))} ${prefix}${unit}`.trim();
  }
  return `${Math.round(value)} ${unit}`.trim();
}

function draw(holder, chart) {
  const lines = chart.lines.filter((line) => line.t.length > 1);
  const legend = holder.querySelector(".legend");
  if (!lines.length) {
    legend.textContent = "no data";
    return;
  }
  for (const [index, line] of lines.entries()) {
    const entry = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.background = `var(--series-${index % 6})`;
    entry.append(swatch, line.name);
    legend.append(entry);
  }
  const format = formats[chart.unit];
  const last = largest(lines.flatMap((line) => line.t), -Infinity);
  const highest = largest(lines.flatMap((line) => line.v), chart.least);
  const step = niceStep(highest, 4);
  const top = Math.ceil(highest / step) * step;
  const width = BOX.width - BOX.left - BOX.right;
  const height = BOX.height - BOX.top - BOX.bottom;
  const x = (t) => BOX.left + (t / last) * width;
  const y = (v) => BOX.top + height - (v / top) * height;
  const area = holder.querySelector(".chart");
  const svg = node("svg", {
    viewBox: `0 0 ${BOX.width} ${BOX.height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": chart.title,
  }, area);
  for (let value = 0; value <= top + step / 2; value += step) {
    node("line", { x1: BOX.left, x2: BOX.width - BOX.right, y1: y(value), y2: y(value), class: "grid" }, svg);
    node("text", { x: BOX.left - 8, y: y(value) + 4, "text-anchor": "end" }, svg, format(value));
  }
  const seconds = niceStep(last, 6);
  for (let t = 0; t <= last; t += seconds) {
    node("text", { x: x(t), y: BOX.height - 6, "text-anchor": "middle" }, svg, `${t} s`);
  }
  for (const [index, line] of lines.entries()) {
    const points = line.t.map((t, i) => `${x(t).toFixed(1)},${y(line.v[i]).toFixed(1)}`).join(" ");
    const color = `var(--series-${index % 6})`;
    if (lines.length === 1) {
      node("polygon", {
        points: `${x(line.t[0])},${y(0)} ${points} ${x(line.t[line.t.length - 1])},${y(0)}`,
        style: `fill:${color};opacity:.12`,
      }, svg);
    }
    node("polyline", {
      points, style: `fill:none;stroke:${color};stroke-width:2`, "stroke-linejoin": "round",
      "vector-effect": "non-scaling-stroke",
    }, svg);
  }
  hover(area, svg, lines, last, format, x);
}

function hover(area, svg, lines, last, format, x) {
  const cursor = node("line", { y1: BOX.top, y2: BOX.height - BOX.bottom, class: "cursor", visibility: "hidden" }, svg);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  area.append(tip);
  area.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  });
  area.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const inside = ((event.clientX - frame.left) / frame.width) * BOX.width;
    const t = Math.round(((inside - BOX.left) / (BOX.width - BOX.left - BOX.right)) * last);
    if (t < 0 || t > last) return;
    tip.replaceChildren(`${t} s`);
    for (const [index, line] of lines.entries()) {
      const at = line.t.indexOf(t);
      if (at < 0) continue;
      const row = document.createElement("div");
      const swatch = document.createElement("i");
      swatch.style.background = `var(--series-${index % 6})`;
      row.append(swatch, `${line.name}  ${format(line.v[at])}`);
      tip.append(row);
    }
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", x(t));
    cursor.setAttribute("x2", x(t));
    tip.hidden = false;
    const left = (x(t) / BOX.width) * frame.width;
    tip.style.top = "8px";
    tip.style.left = left > frame.width / 2 ? "" : `${left + 12}px`;
    tip.style.right = left > frame.width / 2 ? `${frame.width - left + 12}px` : "";
  });
}

const root = document.documentElement;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
root.dataset.theme = dark.matches ? "dark" : "light";
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});
document.querySelectorAll("[data-chart]").forEach((holder) => {
  draw(holder, data.charts[Number(holder.dataset.chart)]);
});
