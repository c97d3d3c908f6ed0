// Which data goes into which chart. What is chosen is kept behind the page's #, so that it can be linked to.

const {title, report, counts} = JSON.parse(document.getElementById('data').textContent);
const model = report.model;
const byId = (id) => document.getElementById(id);
const cells = model.moe_layers * model.experts;
const PERCENT_TICKS = [0, 0.2, 0.4, 0.6, 0.8, 1];
const SHARE = {from: 0, to: 1, ticks: PERCENT_TICKS, show: (v) => percent(v, 0), tell: (v) => percent(v)};
const labelName = (index) => {
  if (index < 0) return 'all labels';
  return report.labels.find((label) => label.index === index).label || '(no label)';
};

function about() {
  document.title = `Expert profile: ${title}`;
  const tokens = report.tokens.train + report.tokens.held_out;
  const when = report.recorded_unix_s > 0 ?
      new Date(1000 * report.recorded_unix_s).toISOString().slice(0, 16).replace('T', ' ') + ' UTC' :
      'at an unknown time';
  byId('about').textContent = `${title}: ${model.text}. Recorded ${when}, ${number(tokens)} tokens, ` +
      `${number(report.tokens.held_out)} of them in held-out requests.`;
  const heads = ['Label', 'Training prefill', 'Training decode', 'Held-out prefill', 'Held-out decode'];
  byId('tokens').append(
      element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', {scope: 'col'}, head)))),
      element('tbody', {}, ...report.labels.map((label) => element('tr', {},
          element('th', {scope: 'row'}, label.label || '(no label)'),
          ...[label.train, label.held_out].flatMap((split) => [split.prefill, split.decode])
              .map((n) => element('td', {}, number(n)))))));
}

function options(select, indices) {
  select.replaceChildren(...indices.map((index) => element('option', {value: index}, labelName(index))));
}

// Hits of what the selectors say, [layers * experts].
function chosenHits() {
  const {hits} = counts.find((entry) => entry.index === +byId('label').value);
  const sum = new Float64Array(cells);
  hits.forEach((phases, split) => phases.forEach((some, phase) => {
    if (!some || (byId('split').value !== '' && split !== +byId('split').value)) return;
    if (byId('phase').value !== '' && phase !== +byId('phase').value) return;
    for (let i = 0; i < cells; ++i) sum[i] += some[i];
  }));
  return sum;
}

// A layer's cumulative share and Gini coefficient, busiest expert first.
function skewOf(hits) {
  const sorted = Float64Array.from(hits).sort().reverse();
  const all = sorted.reduce((a, b) => a + b, 0), n = sorted.length;
  const points = [[0, 0]];
  let sum = 0, ranked = 0;
  const step = Math.max(1, Math.floor(n / 96));
  sorted.forEach((h, i) => {
    sum += h;
    ranked += (i + 1) * h;
    if ((i + 1) % step === 0 || i + 1 === n) points.push([(i + 1) / n, sum / all]);
  });
  return {points, gini: (n + 1 - 2 * ranked / all) / n, used: all > 0};
}

function drawSkew(hits) {
  const layers = [];
  for (let l = 0; l < model.moe_layers; ++l) {
    const skew = skewOf(hits.subarray(l * model.experts, (l + 1) * model.experts));
    if (skew.used) layers.push({layer: l + model.dense_layers, ...skew});
  }
  if (!layers.length) {
    nothing(byId('skew'), 'No tokens were recorded for this choice.');
    return nothing(byId('gini'), 'No tokens were recorded for this choice.');
  }
  const depth = (i) => rgb(rampColor(0.1 + 0.75 * i / Math.max(layers.length - 1, 1)));
  lineChart(byId('skew'), {
    title: 'Share of the choices against share of the experts, per layer',
    series: [{name: 'all experts alike', points: [[0, 0], [1, 1]], color: 'var(--s4)', dash: '2 4', thin: true}].concat(
        layers.map((one, i) => ({name: `layer ${one.layer}, Gini ${one.gini.toFixed(3)}`, points: one.points,
                                 color: depth(i), thin: true}))),
    x: {...SHARE, label: 'experts of the layer, busiest first'}, y: {...SHARE, label: 'choices'}});
  byId('skew').append(element('div', {class: 'legend'}, `lines: layer ${layers[0].layer} (dark) to ` +
      `${layers[layers.length - 1].layer} (light); dotted: all experts alike`));
  const top = Math.max(...layers.map((one) => one.gini), 0.05) * 1.1;
  const first = layers[0].layer, last = layers[layers.length - 1].layer;
  lineChart(byId('gini'), {
    title: 'Gini coefficient by layer',
    series: [{name: 'Gini', points: layers.map((one) => [one.layer, one.gini]), color: 'var(--s1)',
              dots: layers.length <= 70}],
    x: {from: Math.min(first, last - 1), to: last, label: 'layer', show: (v) => String(v), tell: (v) => `layer ${v}`,
        ticks: roundTicks(last, 8).filter((t) => t >= first && t === Math.floor(t))},
    y: {from: 0, to: top, ticks: roundTicks(top, 5), label: 'Gini coefficient', show: (v) => String(+v.toFixed(3)),
        tell: (v) => v.toFixed(3)}});
}

function drawChoice() {
  const hits = chosenHits();
  heatmap(byId('heatmap'), model, hits, byId('order').value === 'busiest');
  drawSkew(hits);
}

function drawHits(box, phase) {
  const label = +byId('curve_label').value;
  const curve = report.curves.find((one) => one.label_index === label && one.phase === phase);
  if (!curve || curve.held_out_tokens === 0) return nothing(box, `No held-out ${phase} tokens, so no hit rate can be told.`);
  if (curve.train_tokens === 0) return nothing(box, `No ${phase} tokens in training requests to rank the experts by.`);
  const line = (key) => curve.hot.map((hot, i) => [hot, curve.hit_rate[key][i]]).filter(([hot]) => hot > 0);
  const seen = new Set();
  const distinct = (points) => { seen.clear(); return points.filter(([hot]) => !seen.has(hot) && seen.add(hot)); };
  const ticks = [0.5, 1, 2, 5, 10, 20, 50, 100].map((p) => p * cells / 100);
  const firstHot = curve.hot.find((hot) => hot > 0);
  lineChart(box, {
    title: `Hit rate on held-out ${phase} tokens against the number of hot experts`, xLines: 2,
    series: [
      {name: 'oracle (unreachable)', points: distinct(line('oracle')), color: 'var(--s3)', dash: '7 4'},
      {name: 'by frequency', points: distinct(line('frequency')), color: 'var(--s1)'},
      {name: 'same number in each layer', points: distinct(line('per_layer')), color: 'var(--s2)', dash: '10 3 2 3'},
      {name: 'uniform use', points: distinct(line('uniform')), color: 'var(--s4)', dash: '2 4'}],
    x: {scale: 'log', from: firstHot, to: cells, ticks: ticks.filter((t) => t >= firstHot * 0.999),
        label: 'hot experts, of all layers (log scale)',
        show: (v) => `${+(100 * v / cells).toFixed(1)} %\n${number(Math.round(v))}`},
    y: {...SHARE, label: 'choices that meet a hot expert'}});
  box.append(element('div', {class: 'legend'},
      `${number(curve.held_out_tokens)} held-out tokens, ranked by ${number(curve.train_tokens)} training tokens`));
}

// Powers of two from..to as ticks, or of four where that would be many.
function doublings(from, to) {
  const ticks = [], step = Math.log2(to / from) > 11 ? 4 : 2;
  for (let tick = 2 ** Math.ceil(Math.log2(from * 0.999)); tick <= to * 1.001; tick *= step) ticks.push(tick);
  return ticks;
}

function drawDistinct(box) {
  if (!report.distinct.length) return nothing(box, 'No steps were recorded.');
  const rows = report.distinct.map((d) => d.rows);
  const to = Math.max(...rows, rows[0] * 1.5);
  const top = Math.max(...report.distinct.flatMap((d) => [d.distinct, d.independent])) * 1.05;
  lineChart(box, {
    title: 'Distinct experts per layer and step against the rows of the step',
    series: [
      {name: 'independent, even choices', points: report.distinct.map((d) => [d.rows, d.independent]), color: 'var(--s4)',
       dash: '2 4'},
      {name: 'recorded', points: report.distinct.map((d) => [d.rows, d.distinct]), color: 'var(--s1)', dots: true}],
    x: {scale: 'log', from: rows[0], to, ticks: doublings(rows[0], to), label: 'rows of the step (log scale)',
        show: (v) => number(+v.toFixed(1)), tell: (v) => `${number(+v.toFixed(1))} rows`},
    y: {from: 0, to: top, ticks: roundTicks(top), label: `experts per layer, of ${model.experts}`,
        show: (v) => number(+v.toFixed(1))}});
}

function drawReuse(box) {
  // Up to where nothing more comes.
  const all = report.reuse.length ? report.reuse[report.reuse.length - 1].share : 0;
  const end = report.reuse.findIndex((p) => p.share > all - 0.0005 && p.independent > 0.9995);
  const points = report.reuse.slice(0, end < 0 ? undefined : Math.max(end + 1, 2));
  if (!points.length) return nothing(box, 'No decoded tokens were recorded.');
  const line = (key) => points.map((p) => [p.less_than_tokens, p[key]]);
  const from = points[0].less_than_tokens, to = points[points.length - 1].less_than_tokens;
  lineChart(box, {
    title: 'Share of choices by tokens since the expert was used last',
    series: [
      {name: 'independent, even choices', points: line('independent'), color: 'var(--s4)', dash: '2 4'},
      {name: 'recorded', points: line('share'), color: 'var(--s1)', dots: true}],
    x: {scale: 'log', from, to, ticks: doublings(from, to), label: 'decoded tokens since the last use (log scale)',
        show: (v) => number(v), tell: (v) => `less than ${number(v)} tokens`},
    y: {...SHARE, label: 'choices'}});
}

function drawDrift(box) {
  byId('drift_about').textContent = `How much of the busiest ${report.drift_percent} % of all experts two windows of ` +
      `${number(report.window_tokens)} decoded tokens have in common (Jaccard: common / either). 1: the same experts.`;
  const points = report.drift;
  if (!points.length) return nothing(box, 'Fewer than two full windows were recorded.');
  const last = points[points.length - 1].tokens, first = Math.min(points[0].tokens, last * 0.999);
  lineChart(box, {
    title: 'Overlap of the busiest experts between windows of decoded tokens',
    series: [
      {name: 'with the window before', points: points.map((p) => [p.tokens, p.to_previous]), color: 'var(--s1)', dots: true},
      {name: 'with the first window', points: points.map((p) => [p.tokens, p.to_first]), color: 'var(--s3)', dash: '7 4'},
      {name: 'random sets', points: [[first, report.random_jaccard], [last, report.random_jaccard]], color: 'var(--s4)',
       dash: '2 4'}],
    x: {from: first, to: last, ticks: roundTicks(last, 5).filter((t) => t >= first), label: 'decoded tokens',
        show: (v) => number(Math.round(v))},
    y: {from: 0, to: 1, ticks: PERCENT_TICKS, label: 'overlap (Jaccard)', show: (v) => v.toFixed(1),
        tell: (v) => v.toFixed(2)}});
}

const found = report.differences;
const MEASURES = {
  match: {name: 'hit rate', show: (v) => percent(v, 1), about: `Hit rate on the column's held-out requests when the ` +
      `${found.match_percent} % of all experts that the row's training requests rank highest are hot.`},
  jaccard: {name: 'overlap of the busiest', show: (v) => v.toFixed(2), about: `Jaccard overlap of the busiest ` +
      `${report.drift_percent} % of all experts; random sets: ${report.random_jaccard.toFixed(2)}. The diagonal compares a ` +
      `label's training with its held-out requests.`},
  jensen_shannon: {name: 'Jensen-Shannon divergence', show: (v) => v.toFixed(3), about: 'In bits, mean of the layers: 0 the ' +
      "same shares, 1 nothing in common. The diagonal compares a label's training with its held-out requests."}};
const letter = (i) => String.fromCharCode(65 + i);

function drawMatrix(box) {
  const measure = MEASURES[byId('measure').value], values = found[byId('measure').value];
  byId('measure_about').textContent = measure.about;
  if (found.label_indices.length < 2) return nothing(box, 'Fewer than two labels were recorded.');
  const known = values.flat().filter((v) => v !== null);
  const low = Math.min(...known), high = Math.max(...known);
  const cell = (value) => {
    if (value === null) return element('td', {title: 'not known: no such tokens'}, '–');
    const share = high > low ? (value - low) / (high - low) : 0.5;
    const ink = share > 0.55 ? '#111111' : '#ffffff';
    return element('td', {style: `background:${rgb(rampColor(share))};color:${ink}`}, measure.show(value));
  };
  box.replaceChildren(element('table', {class: 'matrix'},
      element('thead', {}, element('tr', {}, element('th', {}),
          ...found.label_indices.map((label, i) => element('th', {scope: 'col', title: labelName(label)}, letter(i))))),
      element('tbody', {}, ...values.map((row, i) => element('tr', {},
          element('th', {scope: 'row'}, element('span', {class: 'letter'}, letter(i)), labelName(found.label_indices[i])),
          ...row.map(cell))))));
  box.dataset.cells = values.flat().length;
}

function drawPairs(box) {
  if (!report.pairs.length) return nothing(box, 'No pairs were recorded.');
  const heads = ['First', 'Second', 'Share of tokens', 'Times as often as if independent'];
  box.replaceChildren(element('table', {},
      element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', {scope: 'col'}, head)))),
      element('tbody', {}, ...report.pairs.map((pair) => element('tr', {},
          element('th', {scope: 'row'}, `layer ${pair.first_layer}, expert ${pair.first}`),
          element('td', {}, `layer ${pair.second_layer}, expert ${pair.second}`),
          element('td', {}, percent(pair.share_of_tokens)), element('td', {}, pair.times_independent.toFixed(1)))))));
  box.dataset.rows = report.pairs.length;
}

function drawCurves() {
  drawHits(byId('hits_decode'), 'decode');
  drawHits(byId('hits_prefill'), 'prefill');
}

function drawAll() {
  drawChoice();
  drawCurves();
  drawDistinct(byId('distinct'));
  drawReuse(byId('reuse'));
  drawDrift(byId('drift'));
  drawMatrix(byId('matrix'));
  drawPairs(byId('pairs'));
}

const SELECTORS = ['label', 'phase', 'split', 'order', 'curve_label', 'measure'];

function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const id of SELECTORS) {
    const select = byId(id), value = wanted.get(id);
    if ([...select.options].some((option) => option.value === value)) select.value = value;
  }
}

function writeHash() {
  const chosen = SELECTORS.map((id) => [id, byId(id)]).filter(([, select]) => select.selectedIndex > 0);
  const hash = new URLSearchParams(chosen.map(([id, select]) => [id, select.value])).toString();
  history.replaceState(null, '', '#' + hash);
}

function start() {
  about();
  options(byId('label'), counts.map((entry) => entry.index));
  options(byId('curve_label'), [...new Set(report.curves.map((curve) => curve.label_index))]);
  byId('measure').replaceChildren(
      ...Object.entries(MEASURES).map(([key, measure]) => element('option', {value: key}, measure.name)));
  readHash();
  const redraw = {curve_label: drawCurves, measure: () => drawMatrix(byId('matrix'))};
  for (const id of SELECTORS)
    byId(id).addEventListener('change', () => {
      hideTip();
      (redraw[id] || drawChoice)();
      writeHash();
    });
  drawAll();
  let width = document.body.clientWidth;
  addEventListener('resize', () => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    drawAll();
  });
  addEventListener('hashchange', () => { readHash(); drawAll(); });
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') hideTip(); });
  document.documentElement.dataset.ready = '1';
}

start();
