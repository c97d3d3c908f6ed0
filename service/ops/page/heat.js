// The map of layers and experts: a canvas of one pixel per cell, enlarged; drawn anew with every look.

import {element, fill, hideTip, nothing, number, rampColor, rampCss, roundTicks, shape, showTip} from './drawing.js';

const LEFT = 52, TOP = 4, BOTTOM = 36;
const MOVES = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
const COLORS = Array.from({length: 256}, (_, i) => rampColor(i / 255));

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

// Colours end where 99.5 % of the cells do, so that a few hot experts do not make all others look alike.
function topOf(shares) {
  const counts = new Uint32Array(256);
  for (const share of shares) ++counts[share];
  let left = shares.length * 0.005, top = 255;
  while (top > 32 && (left -= counts[top]) > 0) --top;
  return Math.max(top, 32);
}

export class HeatView {
  constructor(box) {
    this.box = box;
    this.cell = [0, 0];
  }

  show(heat) {
    if (!heat) return nothing(this.box, 'The model has no experts.');
    const shares = bytesOf(heat.sixteenths_of_even_share);
    if (!heat.hits || !shares.some((share) => share > 0))
      return nothing(this.box, 'None were used in the last minutes.');
    this.heat = heat;
    this.shares = shares;
    this.hot = bytesOf(heat.hot_bits);
    this.top = topOf(shares);
    this.width = Math.max(this.box.clientWidth - LEFT - 2, heat.experts);
    this.height = Math.round(heat.layers * Math.min(Math.max(360 / heat.layers, 5), 18));
    const size = `${heat.layers},${heat.experts},${this.width}`;
    if (this.size !== size || !this.box.contains(this.canvas)) this.build(size);
    this.paint();
  }

  build(size) {
    this.size = size;
    this.canvas = element('canvas', {tabindex: 0, role: 'img', 'aria-label':
        `Use of ${this.heat.experts} experts in ${this.heat.layers} layers. Arrow keys move from cell to cell.`});
    this.canvas.style.margin = `${TOP}px 0 0 ${LEFT}px`;
    const field = element('div', {class: 'scroll heat'}, this.canvas, this.axes());
    field.style.paddingBottom = `${BOTTOM}px`;
    const ramp = element('span', {class: 'ramp'});
    ramp.style.background = `linear-gradient(90deg,${rampCss()})`;
    this.legendEnd = document.createTextNode('');
    fill(this.box, field, element('div', {class: 'legend'}, element('span', {}, 'not used', ramp, this.legendEnd)));
    this.canvas.addEventListener('pointermove', (event) => {
      const layer = Math.floor(event.offsetY * this.heat.layers / this.height);
      const expert = Math.floor(event.offsetX * this.heat.experts / this.width);
      if (layer >= 0 && layer < this.heat.layers && expert >= 0 && expert < this.heat.experts)
        this.tell(layer, expert, event.pageX, event.pageY);
    });
    for (const end of ['pointerleave', 'blur']) this.canvas.addEventListener(end, hideTip);
    this.canvas.addEventListener('keydown', (event) => this.move(event));
  }

  axes() {
    const {layers, experts, first_layer: first} = this.heat, row = this.height / layers;
    const svg = shape('svg', {class: 'over', width: this.width + LEFT, height: this.height + TOP + BOTTOM});
    const every = [1, 2, 5, 10, 20].find((n) => n * row >= 16) ?? 50;
    for (let layer = 0; layer < layers; ++layer)
      if ((layer + first) % every === 0)
        svg.append(shape('text', {x: LEFT - 6, y: TOP + (layer + 0.5) * row + 4, 'text-anchor': 'end'}, layer + first));
    svg.append(shape('text', {transform: `translate(12 ${TOP + this.height / 2}) rotate(-90)`, 'text-anchor': 'middle'}, 'layer'));
    for (const tick of roundTicks(experts, Math.max(2, Math.min(8, this.width / 90))))
      if (tick < experts && Number.isInteger(tick))
        svg.append(shape('text', {x: LEFT + (tick + 0.5) * this.width / experts, y: TOP + this.height + 15,
                                  'text-anchor': 'middle'}, tick));
    svg.append(shape('text', {x: LEFT + this.width / 2, y: TOP + this.height + 32, 'text-anchor': 'middle'}, 'expert'));
    return svg;
  }

  paint() {
    const {layers, experts} = this.heat, {canvas, shares, top} = this;
    const image = new ImageData(experts, layers);
    shares.forEach((share, i) => {
      const color = COLORS[Math.min(Math.round(255 * share / top), 255)];
      image.data.set([color[0], color[1], color[2], 255], 4 * i);
    });
    const small = new OffscreenCanvas(experts, layers);
    small.getContext('2d').putImageData(image, 0, 0);
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(this.width * ratio);
    canvas.height = Math.round(this.height * ratio);
    canvas.style.width = `${this.width}px`;
    canvas.style.height = `${this.height}px`;
    const context = canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    this.paintHot(context, canvas.width / experts, canvas.height / layers);
    this.legendEnd.data = `${(top / 16).toFixed(1)} times an even share, and more`;
    Object.assign(canvas.dataset, {rows: layers, columns: experts, hits: this.heat.hits, hot: this.heat.n_hot});
  }

  paintHot(context, wide, high) {
    const dot = Math.max(1.5, Math.min(wide, high) * 0.4);
    for (let i = 0; i < this.shares.length; ++i) {
      if (!this.isHot(i)) continue;
      context.fillStyle = this.shares[i] > 0.5 * this.top ? '#000000' : '#ffffff';
      context.fillRect(((i % this.heat.experts) + 0.5) * wide - dot / 2,
                       (Math.floor(i / this.heat.experts) + 0.5) * high - dot / 2, dot, dot);
    }
  }

  isHot(cell) { return (this.hot[cell >> 3] >> (cell & 7)) & 1; }

  tell(layer, expert, x, y) {
    const cell = layer * this.heat.experts + expert, share = this.shares[cell];
    const times = share === 255 ? '16 times an even share, or more' : `${(share / 16).toFixed(2)} times an even share`;
    showTip(`layer ${number(layer + this.heat.first_layer)}, expert ${number(expert)}\n${times}` +
            (this.isHot(cell) ? '\non the GPU' : ''), x, y);
    this.canvas.dataset.told = `${layer},${expert}`;
  }

  move(event) {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    this.cell = [Math.min(Math.max(this.cell[0] + move[0], 0), this.heat.layers - 1),
                 Math.min(Math.max(this.cell[1] + move[1], 0), this.heat.experts - 1)];
    const place = this.canvas.getBoundingClientRect(), [layer, expert] = this.cell;
    this.tell(layer, expert, place.left + scrollX + expert * this.width / this.heat.experts,
              place.top + scrollY + layer * this.height / this.heat.layers);
  }
}
