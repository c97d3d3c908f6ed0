'use strict';
// Small drawing tools: elements, tooltip, colours, and one kind of chart: lines over axes. Text from the profile
// only ever becomes text nodes.

const SVG = 'http://www.w3.org/2000/svg';

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shape(name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const number = (value) => value.toLocaleString('en-US');
const percent = (share, digits = 1) => (100 * share).toFixed(digits) + ' %';

function nothing(box, why) {
  box.replaceChildren(element('div', {class: 'none'}, why));
  box.dataset.empty = '1';
}

// Dark violet to yellow, rising in lightness, so that it reads without telling hues apart.
const RAMP = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
              [170, 220, 50], [253, 231, 37]];
function rampColor(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[low].map((c, i) => Math.round(c + (RAMP[low + 1][i] - c) * (at - low)));
}
const rgb = (color) => `rgb(${color.join(',')})`;

const tip = document.getElementById('tip');
function showTip(text, x, y) {  // page coordinates
  tip.textContent = text;
  tip.hidden = false;
  const width = tip.offsetWidth, edge = scrollX + document.documentElement.clientWidth - 8;
  tip.style.left = Math.max(8, Math.min(x + 14, edge - width)) + 'px';
  tip.style.top = y + 16 + 'px';
}
function hideTip() { tip.hidden = true; }

// scale: 'linear' or 'log'; {from, to, ticks: [value], show(value), label}
function axis(options, low, high) {
  const f = options.scale === 'log' ? Math.log : (v) => v;
  const from = f(options.from), to = f(options.to);
  return {...options, at: (value) => low + (high - low) * (f(value) - from) / (to - from || 1)};
}

// About `count` round numbers from 0 to at most `to`.
function roundTicks(to, count = 5) {
  const raw = to / count, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw) || 1;
  const ticks = [];
  for (let tick = 0; tick <= to * 1.0001; tick += step) ticks.push(+tick.toFixed(10));
  return ticks;
}

function drawAxes(svg, x, y, size) {
  let lastEnd = -Infinity;
  for (const tick of x.ticks) {
    const at = x.at(tick), lines = x.show(tick).split('\n');
    svg.append(shape('line', {class: 'grid', x1: at, x2: at, y1: size.top, y2: size.bottom}));
    const half = 3.6 * Math.max(...lines.map((l) => l.length));
    if (at - half < lastEnd + 4) continue;  // no room for its text
    lastEnd = at + half;
    lines.forEach((line, i) => svg.append(
        shape('text', {x: at, y: size.bottom + 16 + 14 * i, 'text-anchor': 'middle'}, line)));
  }
  for (const tick of y.ticks) {
    const at = y.at(tick);
    svg.append(shape('line', {class: 'grid', x1: size.left, x2: size.right, y1: at, y2: at}),
               shape('text', {x: size.left - 8, y: at + 4, 'text-anchor': 'end'}, y.show(tick)));
  }
  svg.append(
      shape('path', {class: 'axis', d: `M${size.left},${size.top}V${size.bottom}H${size.right}`}),
      shape('text', {x: (size.left + size.right) / 2, y: size.height - 4, 'text-anchor': 'middle'}, x.label),
      shape('text', {x: 0, y: 12}, y.label));
}

const pathOf = (points, x, y) =>
    points.map(([px, py], i) => `${i ? 'L' : 'M'}${x.at(px).toFixed(1)},${y.at(py).toFixed(1)}`).join('');

// series: [{name, points: [[x, y]], color, dash, thin, dots}]. Sets data-series and data-points on `box`.
function lineChart(box, {series, x, y, title, xLines = 1}) {
  const size = {width: Math.max(box.clientWidth, 240), height: 280, left: 52, top: 24};
  size.right = size.width - 16;
  size.bottom = size.height - 26 - 14 * xLines;
  x = axis(x, size.left, size.right);
  y = axis(y, size.bottom, size.top);
  const svg = shape('svg', {width: size.width, height: size.height, role: 'img', 'aria-label': title});
  drawAxes(svg, x, y, size);
  for (const one of series) {
    const path = shape('path', {class: one.thin ? 'thin' : 'line', d: pathOf(one.points, x, y), stroke: one.color});
    if (one.dash) path.setAttribute('stroke-dasharray', one.dash);
    if (one.thin) path.append(shape('title', {}, one.name));
    svg.append(path);
    if (one.dots)
      for (const [px, py] of one.points)
        svg.append(shape('circle', {cx: x.at(px), cy: y.at(py), r: 3.5, fill: one.color}));
  }
  box.replaceChildren(svg);
  const named = series.filter((one) => !one.thin);
  if (named.length > 1) box.append(legend(named));
  if (!series.some((one) => one.thin)) readOut(svg, named, x, y, size);
  box.dataset.series = series.length;
  box.dataset.points = series.reduce((sum, one) => sum + one.points.length, 0);
  delete box.dataset.empty;
}

function legend(series) {
  const box = element('div', {class: 'legend'});
  for (const one of series) {
    const key = shape('svg', {width: 26, height: 8});
    key.append(shape('path', {class: 'line', d: 'M0,4H26', stroke: one.color, 'stroke-dasharray': one.dash || 'none'}));
    box.append(element('span', {}, key, one.name));
  }
  return box;
}

// A vertical line at the nearest point, and what every series is there.
function readOut(svg, series, x, y, size) {
  const cross = shape('line', {class: 'cross', y1: size.top, y2: size.bottom, visibility: 'hidden'});
  svg.append(cross);
  const places = [...new Set(series.flatMap((one) => one.points.map((p) => p[0])))];
  svg.addEventListener('pointermove', (event) => {
    const mouse = event.clientX - svg.getBoundingClientRect().left;
    const near = places.reduce((a, b) => Math.abs(x.at(b) - mouse) < Math.abs(x.at(a) - mouse) ? b : a);
    cross.setAttribute('x1', x.at(near));
    cross.setAttribute('x2', x.at(near));
    cross.setAttribute('visibility', 'visible');
    const lines = [(x.tell || x.show)(near).replace('\n', ', ')];
    for (const one of series) {
      const point = one.points.find((p) => p[0] === near);
      if (point) lines.push(`${one.name}: ${(y.tell || y.show)(point[1])}`);
    }
    showTip(lines.join('\n'), event.pageX, event.pageY);
  });
  svg.addEventListener('pointerleave', () => {
    cross.setAttribute('visibility', 'hidden');
    hideTip();
  });
}
