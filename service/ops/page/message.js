// One message of the conversation as it is shown: reasoning folded away, text, and what it took.

import {element, number, short} from './drawing.js';

const ROLE_WORDS = {user: 'You', assistant: 'Model'};

// {input, cached, output, seconds, firstS, decodeS} in words.
export function usageWords(use) {
  const words = [];
  if (use.input !== undefined) {
    const cached = use.cached ? ` (${number(use.cached)} from the cache)` : '';
    words.push(`${number(use.input)} prompt tokens${cached}`);
  }
  if (use.output !== undefined) words.push(`${number(use.output)} tokens`);
  if (use.rate) words.push(`${short(use.rate)} tokens/s`);
  if (use.firstS !== undefined) words.push(`first after ${short(use.firstS)} s`);
  if (use.queueS >= 0.01) words.push(`${short(use.queueS)} s of it waiting`);
  return words.join(' · ');
}

function growingText(className) {
  const text = document.createTextNode('');
  return {text, node: element('div', {class: className}, text)};
}

export class MessageView {
  constructor(role) {
    this.text = growingText('text');
    this.body = element('div', {}, this.text.node);
    this.use = element('p', {class: 'use'});
    this.buttons = element('span', {class: 'buttons'});
    this.node = element('article', {class: role}, element('h2', {}, ROLE_WORDS[role] ?? role), this.body,
                        element('footer', {}, this.use, this.buttons));
  }

  addText(more) {
    this.text.text.appendData(more);
    if (this.summary && !this.reasoned) {
      this.reasoned = true;
      this.summary.textContent = `Reasoning (${short((performance.now() - this.reasoningSince) / 1000)} s)`;
    }
  }

  addReasoning(more) {
    if (!this.summary) {
      this.reasoningSince = performance.now();
      this.summary = element('summary', {}, 'Reasoning …');
      this.reasoning = growingText('text');
      this.body.prepend(element('details', {class: 'reasoning'}, this.summary, this.reasoning.node));
    }
    this.reasoning.text.appendData(more);
  }

  setError(words) { this.body.append(element('p', {class: 'error', role: 'alert'}, words)); }
  setNote(words) { this.body.append(element('p', {class: 'note'}, words)); }
  setUse(words) { this.use.textContent = words; }
  setBusy(busy) { this.node.setAttribute('aria-busy', busy); }

  setActions(actions) {  // {name: function}
    this.buttons.replaceChildren(...Object.entries(actions).map(([name, act]) => {
      const button = element('button', {type: 'button', class: 'small'}, name);
      button.addEventListener('click', act);
      return button;
    }));
  }
}
