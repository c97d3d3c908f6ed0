// The live view's charts: a line over the last minutes, bars of parts, bars by layer.

import {element, fill, hideTip, legend, nothing, number, roundTicks, shape, short, showTip} from './drawing.js';

const COLORS = {one: 'var(--s1)', two: 'var(--s3)', three: 'var(--s2)', rest: 'var(--grid)'};

// points: [{at (ms), ...rates}], the newest last; of these `key` in the last `spanMs`.
export function rateChart(box, points, spanMs, key, name, color) {
  if (points.length < 2) return nothing(box, 'Rates are known after some looks.');
  const width = Math.max(box.clientWidth, 200), height = 84, left = 44, bottom = height - 20;
  const end = points.at(-1).at;
  const top = Math.max(1, ...points.map((p) => p[key])) * 1.05;
  const x = (at) => left + (width - left - 4) * (1 - (end - at) / spanMs);
  const y = (value) => 8 + (bottom - 8) * (1 - value / top);
  const svg = shape('svg', {width, height, role: 'img', 'aria-label': `Tokens per second, ${name}, over the last two minutes`});
  for (const tick of roundTicks(top, 2))
    svg.append(shape('line', {class: 'grid', x1: left, x2: width - 4, y1: y(tick), y2: y(tick)}),
               shape('text', {x: left - 6, y: y(tick) + 4, 'text-anchor': 'end'}, short(tick)));
  for (const ago of [120, 60, 0])
    svg.append(shape('text', {x: x(end - ago * 1000), y: height - 4,
                               'text-anchor': ago === 0 ? 'end' : ago === 120 ? 'start' : 'middle'},
                     ago ? `${ago} s ago` : 'now'));
  const path = points.map((p, i) => `${i ? 'L' : 'M'}${x(p.at).toFixed(1)},${y(p[key]).toFixed(1)}`).join('');
  svg.append(shape('path', {class: 'line', d: path, stroke: color}));
  fill(box, svg, legend([{name, color, key: 'line'}]));
  box.dataset.points = points.length;
}

// One bar of parts: [{name, value, color}].
export function partsBar(box, parts, words) {
  const all = parts.reduce((sum, part) => sum + part.value, 0);
  if (all <= 0) return nothing(box, 'There is no cache.');
  const width = Math.max(box.clientWidth, 200);
  const svg = shape('svg', {width, height: 26, role: 'img', 'aria-label': words});
  let at = 0;
  for (const part of parts) {
    const wide = width * part.value / all;
    svg.append(shape('rect', {x: at, y: 0, width: Math.max(wide, 0), height: 26, fill: part.color}));
    at += wide;
  }
  fill(box, svg, legend(parts.map((part) => ({name: `${part.name}: ${number(part.value)}`, color: part.color}))));
}

// Bars from a common left edge: [{name, value, color}], with whole numbers.
export function countBars(box, counts) {
  const top = Math.max(1, ...counts.map((one) => one.value));
  const rows = counts.map((one) => {
    const svg = shape('svg', {width: '100%', height: 14, 'aria-hidden': 'true'});
    svg.append(shape('rect', {width: `${100 * one.value / top}%`, height: 14, rx: 2, fill: one.color}));
    return element('tr', {}, element('th', {scope: 'row'}, one.name), element('td', {}, number(one.value)),
                   element('td', {class: 'bar'}, svg));
  });
  fill(box, element('table', {class: 'counts'}, element('tbody', {}, ...rows)));
}

// {dense_ms, cpu_experts_ms} by layer, one on top of the other.
export function layerChart(box, layers) {
  const {dense_ms: dense, cpu_experts_ms: experts, steps} = layers;
  if (!steps) return nothing(box, 'There was no such step yet.');
  const width = Math.max(box.clientWidth, 240), height = 220, left = 52, bottom = height - 34;
  const top = Math.max(1e-3, ...dense.map((ms, i) => ms + experts[i])) * 1.05;
  const y = (ms) => 18 + (bottom - 18) * (1 - ms / top);
  const wide = (width - left - 4) / dense.length;
  const svg = shape('svg', {width, height, role: 'img', 'aria-label': 'Milliseconds of a step by layer'});
  for (const tick of roundTicks(top, 4))
    svg.append(shape('line', {class: 'grid', x1: left, x2: width - 4, y1: y(tick), y2: y(tick)}),
               shape('text', {x: left - 6, y: y(tick) + 4, 'text-anchor': 'end'}, short(tick)));
  const gap = wide > 6 ? Math.min(wide * 0.2, 4) : 0;
  dense.forEach((ms, i) => {
    const x = left + i * wide + gap / 2, bar = {x, width: Math.max(wide - gap, 0.5)};
    svg.append(shape('rect', {...bar, y: y(ms), height: Math.max(bottom - y(ms), 0), fill: COLORS.one}),
               shape('rect', {...bar, y: y(ms + experts[i]), height: Math.max(y(ms) - y(ms + experts[i]), 0), fill: COLORS.two}));
  });
  const every = [1, 2, 5, 10, 20].find((n) => n * wide >= 26) ?? 50;
  for (let i = 0; i < dense.length; i += every)
    svg.append(shape('text', {x: left + (i + 0.5) * wide, y: bottom + 15, 'text-anchor': 'middle'}, i));
  svg.append(shape('path', {class: 'axis', d: `M${left},18V${bottom}H${width - 4}`}),
             shape('text', {x: left + (width - left) / 2, y: height - 2, 'text-anchor': 'middle'}, 'layer'),
             shape('text', {x: 0, y: 10}, 'ms'));
  svg.addEventListener('pointermove', (event) => {
    const i = Math.floor((event.clientX - svg.getBoundingClientRect().left - left) / wide);
    if (i < 0 || i >= dense.length) return hideTip();
    showTip(`layer ${i}\nexperts on the CPU: ${short(experts[i])} ms\ndense side: ${short(dense[i])} ms`,
            event.pageX, event.pageY);
  });
  svg.addEventListener('pointerleave', hideTip);
  const sum = (values) => short(values.reduce((a, b) => a + b, 0));
  fill(box, svg, legend([{name: `experts on the CPU: ${sum(experts)} ms a step`, color: COLORS.two},
                         {name: `dense side (with a GPU: waiting for it): ${sum(dense)} ms`, color: COLORS.one}]));
  box.dataset.layers = dense.length;
}
