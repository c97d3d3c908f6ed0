// The map of layers and experts: a canvas whose cells begin and end on whole device pixels, and a tooltip.

const HEAT_LEFT = 52, HEAT_TOP = 4, HEAT_BOTTOM = 36;

// Colours end where 99.5 % of the cells do, so that a few hot experts do not make all others look alike.
function heatTop(shares) {
  const sorted = Float64Array.from(shares).sort();
  return Math.max(sorted[Math.floor((sorted.length - 1) * 0.995)], 2);
}

// Order of the experts in each row.
function expertOrder(hits, layers, experts, busiestFirst) {
  const rows = [];
  for (let layer = 0; layer < layers; ++layer) {
    const order = Array.from({length: experts}, (_, e) => e);
    if (busiestFirst) order.sort((a, b) => hits[layer * experts + b] - hits[layer * experts + a] || a - b);
    rows.push(order);
  }
  return rows;
}

function heatScale(layers, experts, boxWidth) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(Math.floor((boxWidth - HEAT_LEFT - 2) * ratio), experts);
  const rowHeight = Math.max(Math.round(Math.min(Math.max(480 / layers, 6), 22) * ratio), 1);
  const edge = (column) => Math.round(column * width / experts);
  return {ratio, width, rowHeight, height: rowHeight * layers, edge};
}

function paintCells(canvas, scale, shares, order, top) {
  canvas.width = scale.width;
  canvas.height = scale.height;
  canvas.style.width = scale.width / scale.ratio + 'px';
  canvas.style.height = scale.height / scale.ratio + 'px';
  const context = canvas.getContext('2d');
  order.forEach((row, layer) => row.forEach((expert, column) => {
    context.fillStyle = rgb(rampColor(shares[layer * row.length + expert] / top));
    const left = scale.edge(column);
    context.fillRect(left, layer * scale.rowHeight, scale.edge(column + 1) - left, scale.rowHeight);
  }));
}

function heatAxes(box, scale, model, busiestFirst) {
  const width = scale.width / scale.ratio, height = scale.height / scale.ratio;
  const svg = shape('svg', {width: width + HEAT_LEFT, height: height + HEAT_TOP + HEAT_BOTTOM,
                            style: 'position:absolute;left:0;top:0;pointer-events:none'});
  const every = [1, 2, 5, 10, 20, 50].find((n) => n * height / model.moe_layers >= 16) || 100;
  for (let layer = 0; layer < model.moe_layers; ++layer)
    if ((layer + model.dense_layers) % every === 0 || model.moe_layers < 4)
      svg.append(shape('text', {x: HEAT_LEFT - 6, y: HEAT_TOP + (layer + 0.5) * height / model.moe_layers + 4,
                                'text-anchor': 'end'}, layer + model.dense_layers));
  const label = shape('text', {transform: `translate(12 ${HEAT_TOP + height / 2}) rotate(-90)`, 'text-anchor': 'middle'},
                      'layer');
  svg.append(label);
  for (const tick of roundTicks(model.experts, Math.max(2, Math.min(8, width / 90)))) {
    if (tick >= model.experts || tick !== Math.floor(tick)) continue;
    const at = HEAT_LEFT + (scale.edge(tick) + scale.edge(tick + 1)) / 2 / scale.ratio;
    svg.append(shape('text', {x: at, y: HEAT_TOP + height + 15, 'text-anchor': 'middle'}, tick));
  }
  svg.append(shape('text', {x: HEAT_LEFT + width / 2, y: HEAT_TOP + height + 32, 'text-anchor': 'middle'},
                   busiestFirst ? 'place of the expert in its layer, busiest first' : 'expert'));
  box.append(svg);
}

function heatLegend(top) {
  const stops = RAMP.map((color, i) => `${rgb(color)} ${100 * i / (RAMP.length - 1)}%`).join(',');
  const ramp = element('span', {class: 'ramp', style: `background:linear-gradient(90deg,${stops})`});
  return element('div', {class: 'legend'}, element('span', {}, 'never used', ramp,
      `${top.toFixed(1)} times an even share, and more`));
}

// hits [layers * experts]. Sets data-rows, data-columns and data-hits on the canvas.
function heatmap(box, model, hits, busiestFirst) {
  const layers = model.moe_layers, experts = model.experts;
  const sums = Array.from({length: layers}, (_, l) => {
    let sum = 0;
    for (let e = 0; e < experts; ++e) sum += hits[l * experts + e];
    return sum;
  });
  const all = sums.reduce((a, b) => a + b, 0);
  if (all === 0) return nothing(box, 'No tokens were recorded for this choice.');
  const shares = Float64Array.from(hits, (h, i) => h * experts / (sums[Math.floor(i / experts)] || 1));
  const top = heatTop(shares), order = expertOrder(hits, layers, experts, busiestFirst);
  const scale = heatScale(layers, experts, box.clientWidth);
  const canvas = element('canvas', {tabindex: 0, role: 'img', style: `margin:${HEAT_TOP}px 0 0 ${HEAT_LEFT}px`,
      'aria-label': `Use of ${experts} experts in ${layers} layers. Arrow keys move from cell to cell.`});
  paintCells(canvas, scale, shares, order, top);
  Object.assign(canvas.dataset, {rows: layers, columns: experts, cells: layers * experts, hits: all});
  const field = element('div', {class: 'scroll', style: `position:relative;padding-bottom:${HEAT_BOTTOM}px`}, canvas);
  heatAxes(field, scale, model, busiestFirst);
  box.replaceChildren(field, heatLegend(top));
  delete box.dataset.empty;

  const tell = (layer, column, x, y) => {
    const expert = order[layer][column], cell = layer * experts + expert;
    showTip(`layer ${layer + model.dense_layers}, expert ${expert}\n${number(hits[cell])} of ${number(sums[layer])} ` +
        `choices (${percent(hits[cell] / (sums[layer] || 1), 2)})\n${shares[cell].toFixed(2)} times an even share`, x, y);
    canvas.dataset.told = `${layer},${expert}`;
  };
  canvas.addEventListener('pointermove', (event) => {
    const column = Math.floor(event.offsetX * scale.ratio * experts / scale.width);
    const layer = Math.floor(event.offsetY * scale.ratio / scale.rowHeight);
    if (column >= 0 && column < experts && layer >= 0 && layer < layers) tell(layer, column, event.pageX, event.pageY);
  });
  canvas.addEventListener('pointerleave', hideTip);
  canvas.addEventListener('blur', hideTip);
  moveByKeys(canvas, scale, layers, experts, tell);
}

function moveByKeys(canvas, scale, layers, experts, tell) {
  const moves = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
  let layer = 0, column = 0;
  canvas.addEventListener('keydown', (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    layer = Math.min(Math.max(layer + move[0], 0), layers - 1);
    column = Math.min(Math.max(column + move[1], 0), experts - 1);
    const place = canvas.getBoundingClientRect();
    tell(layer, column, place.left + scrollX + scale.edge(column) / scale.ratio,
         place.top + scrollY + layer * scale.rowHeight / scale.ratio);
  });
}
