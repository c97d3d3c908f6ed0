// The live view: asks the server every second while it is seen.

import {countBars, layerChart, partsBar, rateChart} from './charts.js';
import {ask, inWords} from './connection.js';
import {byId, element, fill, nothing, number, percent, short} from './drawing.js';
import {HeatView} from './heat.js';

const SPAN_MS = 120000;
const points = [];  // {at, generated, prompt}: rates between two looks
let last = null;    // {at, tokens}
let seen = false, timer = 0, latest = null;
const heatView = new HeatView(byId('heat'));

function noteRates(tokens) {
  const at = performance.now();
  if (last && tokens.generated >= last.tokens.generated) {
    const seconds = (at - last.at) / 1000;
    points.push({at, generated: (tokens.generated - last.tokens.generated) / seconds,
                 prompt: (tokens.prompt - last.tokens.prompt) / seconds});
  }
  last = {at, tokens};
  while (points.length && points[0].at < at - SPAN_MS) points.shift();
}

function duration(seconds) {
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const i = Math.max(units.findIndex(([size]) => seconds >= size), 0);
  if (seconds < 1) return 'just started';
  const whole = Math.floor(seconds / units[i][0]), rest = units[i + 1] && Math.floor(seconds % units[i][0] / units[i + 1][0]);
  return `${whole} ${units[i][1]}` + (rest ? ` ${rest} ${units[i + 1][1]}` : '');
}

function figures(look) {
  const rates = look.rates ?? {}, rate = (value) => value === undefined ? '–' : short(value);
  const found = look.tokens.cached_prompt, prompts = look.tokens.prompt + found;
  const hit = look.hot_hit_rate.decode;
  const all = {
    'tokens/s': rate(rates.generated_per_s),
    'prompt tokens/s': rate(rates.prompt_per_s),
    'of prompts from the cache': prompts ? percent(found / prompts) : '–',
    'running': number(look.batch.running),
    'waiting': number(look.queue.waiting),
    'open requests': number(look.open_requests),
    ...(hit ? {'choices that met the GPU': percent(hit)} : {}),
    'up': duration(look.up_s),
  };
  byId('figures').replaceChildren(...Object.entries(all).map(
      ([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))));
}

function draw() {
  if (!latest) return;
  const look = latest, pages = look.kv_pages;
  byId('live_about').textContent = `${look.model}: ${look.engine}`;
  figures(look);
  rateChart(byId('generated_rate'), points, SPAN_MS, 'generated', 'generated', 'var(--s1)');
  rateChart(byId('prompt_rate'), points, SPAN_MS, 'prompt', 'of prompts, computed', 'var(--s3)');
  countBars(byId('queue'), [
    {name: 'running', value: look.batch.running, color: 'var(--s2)'},
    {name: 'waiting, interactive', value: look.queue.interactive, color: 'var(--s1)'},
    {name: 'waiting, normal', value: look.queue.normal, color: 'var(--s1)'},
    {name: 'waiting, batch', value: look.queue.batch, color: 'var(--s1)'},
  ]);
  partsBar(byId('pages'), [
    {name: 'used', value: pages.used, color: 'var(--s1)'},
    {name: 'kept for the next prompt', value: pages.cached, color: 'var(--s2)'},
    {name: 'free', value: pages.free, color: 'var(--rule)'},
  ], `${pages.used} pages used, ${pages.cached} kept, ${pages.free} free`);
  layerChart(byId('layers'), look.layers[byId('layers_phase').value]);
  heatView.show(look.heat);
  document.documentElement.dataset.looks = 1 + Number(document.documentElement.dataset.looks ?? 0);
}

async function cancelTask(task) {
  try {
    await ask('/api/task_cancel/' + encodeURIComponent(task), {method: 'POST', body: {}});
  } catch (error) {
    nothing(byId('tasks'), inWords(error));
  }
}

function drawTasks(tasks) {
  const box = byId('tasks');
  if (!tasks.length) return nothing(box, 'There are none.');
  const of = (value, most) => most ? `${number(value)} of ${number(most)}` : number(value);
  const heads = ['Task', 'Key', 'Running', 'Agents', 'Requests', 'Tokens', 'From the cache', ''];
  const rows = tasks.map((task) => {
    const button = element('button', {type: 'button', class: 'small'}, 'Cancel');
    button.addEventListener('click', () => cancelTask(task.task));
    const spent = task.prompt_tokens - task.cached_tokens + task.completion_tokens;
    return element('tr', {}, element('th', {scope: 'row'}, task.task), element('td', {}, task.owner || '–'),
                   element('td', {}, number(task.running)), element('td', {}, of(task.agents, task.budget.agents)),
                   element('td', {}, of(task.steps, task.budget.steps)), element('td', {}, of(spent, task.budget.tokens)),
                   element('td', {}, task.prompt_tokens ? percent(task.cached_tokens / task.prompt_tokens) : '–'),
                   element('td', {}, button));
  });
  fill(box, element('table', {}, element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', {scope: 'col'}, head)))),
                    element('tbody', {}, ...rows)));
}

async function look() {
  try {
    latest = await (await ask('/api/live?heat=' + byId('heat_phase').value)).json();
    noteRates(latest.tokens);
    const {tasks} = await (await ask('/api/tasks')).json();
    if (!byId('tasks').matches(':focus-within')) drawTasks(tasks);
    draw();
  } catch (error) {
    byId('live_about').textContent = inWords(error);
    if (error.status === 401) return;  // until the view is opened again
  }
  if (seen && !document.hidden) timer = setTimeout(look, 1000);
}

export function setLiveSeen(now) {
  seen = now;
  clearTimeout(timer);
  if (seen) look();
}

export function startLive() {
  for (const id of ['layers_phase', 'heat_phase'])
    byId(id).addEventListener('change', () => { if (seen) { clearTimeout(timer); look(); } });
  document.addEventListener('visibilitychange', () => { if (seen) setLiveSeen(true); });
  addEventListener('resize', () => { if (seen) draw(); });
}
