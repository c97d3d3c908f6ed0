// Starts the page: its two views, chosen by tabs and by the address's hash.

import {startChat} from './chat.js';
import {byId, hideTip} from './drawing.js';
import {setLiveSeen, startLive} from './live.js';

const VIEWS = ['chat', 'live'];

function choose(view, focus = false) {
  hideTip();
  for (const name of VIEWS) {
    const tab = byId(name + '_tab'), chosen = name === view;
    tab.setAttribute('aria-selected', chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(name).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  history.replaceState(null, '', '#' + view);
  setLiveSeen(view === 'live');
}

const viewOfHash = () => VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : 'chat';

VIEWS.forEach((view, i) => {
  byId(view + '_tab').addEventListener('click', () => choose(view));
  byId(view + '_tab').addEventListener('keydown', (event) => {
    if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') choose(VIEWS[(i + 1) % VIEWS.length], true);
  });
});
addEventListener('hashchange', () => choose(viewOfHash()));
startLive();
choose(viewOfHash());
startChat().finally(() => { document.documentElement.dataset.ready = '1'; });
