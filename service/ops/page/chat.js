// The chat playground over /v1/chat/completions. The conversation is kept in this page's memory only.

import {ServerError, ask, inWords} from './connection.js';
import {byId, element} from './drawing.js';
import {MessageView, usageWords} from './message.js';
import {events} from './sse.js';

const FINISH_NOTES = {
  length: 'The answer was cut off: it reached the limit of tokens.',
  tool_calls: 'The model called a tool; this page has none.',
  stopped: 'Stopped.',
};

// [{role, content, reasoning?, view, finish?, use?}]
let messages = [];
let running = null;  // {controller} of the answer under way
let model = '';

function setStatus(words) { byId('status').textContent = words; }

function atBottom() {
  const box = byId('conversation');
  return box.scrollHeight - box.scrollTop - box.clientHeight < 40;
}
function scrollDown() { byId('conversation').scrollTop = byId('conversation').scrollHeight; }

function show(message) {
  byId('greeting').hidden = true;
  message.view = new MessageView(message.role);
  if (message.content) message.view.addText(message.content);
  byId('conversation').append(message.view.node);
  scrollDown();
}

// What may be done with the last messages, now that nothing runs.
function offerActions() {
  messages.forEach((message, i) => {
    const actions = {};
    if (message.content) actions.Copy = () => navigator.clipboard?.writeText(message.content);
    if (message.role === 'user' && !messages.slice(i + 1).some((m) => m.role === 'user')) actions.Edit = () => edit(i);
    if (message.role === 'assistant' && i === messages.length - 1) actions['Try again'] = () => again(i);
    message.view.setActions(running ? {} : actions);
  });
}

function cut(length) {
  for (const message of messages.splice(length)) message.view.node.remove();
  byId('greeting').hidden = messages.length > 0;
}

function edit(index) {
  const input = byId('message');
  input.value = messages[index].content;
  cut(index);
  offerActions();
  input.focus();
}

function again(index) {
  cut(index);
  answer();
}

function requestBody() {
  const system = byId('system').value.trim();
  const body = {
    model,
    stream: true,
    stream_options: {include_usage: true},
    messages: [...(system ? [{role: 'system', content: system}] : []),
               ...messages.map(({role, content}) => ({role, content}))],
    chat_template_kwargs: {thinking: byId('thinking').checked},
  };
  const temperature = byId('temperature').valueAsNumber, most = byId('max_tokens').valueAsNumber;
  if (!Number.isNaN(temperature)) body.temperature = temperature;
  if (!Number.isNaN(most)) body.max_completion_tokens = most;
  return body;
}

function setRunning(now) {
  running = now;
  byId('send').hidden = Boolean(now);
  byId('stop').hidden = !now;
  offerActions();
}

// What an answer took, by the server's count and this page's clock.
class Stopwatch {
  constructor() {
    this.begin = performance.now();
    this.pieces = 0;
  }
  note() {
    this.last = performance.now();
    this.first ??= this.last;
    ++this.pieces;
  }
  use(usage, timings) {
    const use = {};
    if (this.first) use.firstS = (this.first - this.begin) / 1000;
    const decodeS = timings?.decode_s || (this.last - this.first) / 1000;
    if (usage) {
      use.input = usage.prompt_tokens;
      use.cached = usage.prompt_tokens_details?.cached_tokens;
      use.output = usage.completion_tokens;
    }
    const tokens = usage?.completion_tokens ?? this.pieces;
    if (tokens > 1 && decodeS > 0) use.rate = (tokens - 1) / decodeS;
    if (timings) use.queueS = timings.queue_s;
    return use;
  }
}

// Adds what a chunk of the stream brings.
function take(chunk, message, watch) {
  if (chunk.error) throw new ServerError('broken', chunk.error.message ?? '');
  if (chunk.usage) message.usage = chunk.usage;
  if (chunk.timings) message.timings = chunk.timings;
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const {content, reasoning_content: reasoning, tool_calls: calls} = choice.delta ?? {};
  const follow = atBottom();
  if (reasoning) {
    message.reasoning = (message.reasoning ?? '') + reasoning;
    message.view.addReasoning(reasoning);
  }
  if (content) {
    message.content += content;
    message.view.addText(content);
  }
  if (calls) message.toolCalls = [...(message.toolCalls ?? []), ...calls];
  if (content || reasoning || calls) watch.note();
  if (follow) scrollDown();
  if (choice.finish_reason) message.finish = choice.finish_reason;
}

async function receive(message, watch, signal) {
  const response = await ask('/v1/chat/completions', {method: 'POST', body: requestBody(), signal});
  const id = response.headers.get('X-Request-Id');
  if (id) message.view.node.title = `Request ${id}`;
  for await (const event of events(response)) {
    if (event.comment && !watch.first) setStatus(`Waiting: ${event.comment}`);
    if (event.data === '[DONE]') return;
    if (event.data === undefined) continue;
    const waited = !watch.first;
    take(JSON.parse(event.data), message, watch);
    if (waited && watch.first) setStatus('Answering …');
    message.view.setUse(usageWords(watch.use()));
  }
  if (!message.finish) throw new ServerError('broken', '');
}

async function answer() {
  const message = {role: 'assistant', content: ''};
  const controller = new AbortController(), watch = new Stopwatch();
  show(message);
  message.view.setBusy(true);
  setRunning({controller});
  setStatus('Waiting for the first token …');
  try {
    await receive(message, watch, controller.signal);
    setStatus('The answer is complete.');
  } catch (error) {
    if (controller.signal.aborted) {
      message.finish = 'stopped';
      setStatus('Stopped.');
    } else {
      message.finish = 'error';
      message.view.setError(inWords(error));
      setStatus('');
    }
  }
  const follow = atBottom();
  message.view.setBusy(false);
  if (FINISH_NOTES[message.finish]) message.view.setNote(FINISH_NOTES[message.finish]);
  message.use = watch.use(message.usage, message.timings);
  message.view.setUse(usageWords(message.use));
  messages.push(message);
  setRunning(null);
  if (follow) scrollDown();
}

function send() {
  const input = byId('message'), content = input.value.trim();
  if (running || !content) return;
  // An answer that failed is not part of what was said.
  while (messages.length && messages.at(-1).role === 'assistant' && !messages.at(-1).content)
    cut(messages.length - 1);
  const message = {role: 'user', content};
  show(message);
  messages.push(message);
  input.value = '';
  answer();
}

function stop() { running?.controller.abort(); }

function clear() {
  stop();
  cut(0);
  setStatus('');
  byId('message').focus();
}

function exportJson() {
  const told = ({view, usage, ...rest}) => ({...rest, usage});
  const text = JSON.stringify({model, system: byId('system').value, thinking: byId('thinking').checked,
                               exported: new Date().toISOString(), messages: messages.map(told)}, null, 2);
  const link = element('a', {href: URL.createObjectURL(new Blob([text], {type: 'application/json'})),
                             download: `chat-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.json`});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function startChat() {
  byId('composer').addEventListener('submit', (event) => { event.preventDefault(); send(); });
  byId('message').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  byId('stop').addEventListener('click', stop);
  byId('clear').addEventListener('click', clear);
  byId('export').addEventListener('click', exportJson);
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && !byId('key_dialog').open) stop(); });
  const narrow = matchMedia('(max-width: 960px)');
  byId('settings').open = !narrow.matches;
  narrow.addEventListener('change', () => { byId('settings').open = !narrow.matches; });
  byId('message').focus();
  try {
    model = (await (await ask('/v1/models')).json()).data[0].id;
    byId('model').textContent = model;
  } catch (error) {
    setStatus(inWords(error));
  }
}
