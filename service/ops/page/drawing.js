// Small drawing tools: elements, tooltip, colours. Text only ever becomes text nodes.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function shape(name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

export const number = (value) => value.toLocaleString('en-US');
export const percent = (share, digits = 1) => (100 * share).toFixed(digits) + ' %';
// With about three digits: 0.123, 12.3, 1,235.
export const short = (value) =>
    value.toLocaleString('en-US', {maximumFractionDigits: value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0});

export function nothing(box, why) {
  if (box.dataset.empty === why) return;
  box.replaceChildren(element('div', {class: 'none'}, why));
  box.dataset.empty = why;
}

export function fill(box, ...children) {
  delete box.dataset.empty;
  box.replaceChildren(...children);
}

// Dark violet to yellow, rising in lightness, so that it reads without telling hues apart.
const RAMP = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
              [170, 220, 50], [253, 231, 37]];
export function rampColor(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[low].map((c, i) => Math.round(c + (RAMP[low + 1][i] - c) * (at - low)));
}
export const rampCss = () => RAMP.map((color) => `rgb(${color.join(',')})`).join(',');

export function showTip(text, x, y) {  // page coordinates
  const tip = byId('tip');
  tip.textContent = text;
  tip.hidden = false;
  const edge = scrollX + document.documentElement.clientWidth - 8;
  tip.style.left = Math.max(8, Math.min(x + 14, edge - tip.offsetWidth)) + 'px';
  tip.style.top = y + 16 + 'px';
}
export function hideTip() { byId('tip').hidden = true; }

// About `count` round numbers from 0 to at most `to`.
export function roundTicks(to, count) {
  const raw = to / count, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) || 1;
  const ticks = [];
  for (let tick = 0; tick <= to * 1.0001; tick += step) ticks.push(+tick.toFixed(10));
  return ticks;
}

// series: [{name, color, key: 'line' | 'box'}]
export function legend(series) {
  return element('div', {class: 'legend'}, ...series.map((one) => {
    const key = shape('svg', {width: 14, height: 10});
    key.append(one.key === 'line' ? shape('path', {class: 'line', d: 'M0,5H14', stroke: one.color})
                                  : shape('rect', {width: 10, height: 10, rx: 2, fill: one.color}));
    return element('span', {}, key, one.name);
  }));
}
