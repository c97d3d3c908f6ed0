// Requests to the server that this page came from, with a key if it asks for one.

const KEY = 'tandem.key';

export class ServerError extends Error {
  constructor(status, message, retryAfterS) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

const byId = (id) => document.getElementById(id);
let asking = null;  // one dialog for all requests that wait for a key

function askForKey(refused) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = byId('key_dialog'), form = byId('key_form'), input = byId('key');
    byId('key_about').textContent =
        refused ? 'That key is not one of this server\'s.' : 'It is kept until this tab is closed.';
    input.value = '';
    const end = (what) => {
      form.onsubmit = dialog.oncancel = byId('key_cancel').onclick = null;
      dialog.close();
      asking = null;
      what();
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      sessionStorage.setItem(KEY, input.value.trim());
      end(resolve);
    };
    const cancel = (event) => {
      event.preventDefault();
      end(() => reject(new ServerError(401, 'The server asks for a key.')));
    };
    dialog.oncancel = cancel;
    byId('key_cancel').onclick = cancel;
    dialog.showModal();
  });
  return asking;
}

async function toError(response) {
  let message = '';
  try {
    const body = await response.json();
    message = body.error?.message ?? body.message ?? '';
  } catch { /* not JSON: the status says it */ }
  return new ServerError(response.status, message, Number(response.headers.get('Retry-After')) || 0);
}

// The response of a request that the server accepted. Throws ServerError, or AbortError.
export async function ask(path, {method = 'GET', body, signal} = {}) {
  while (true) {
    const key = sessionStorage.getItem(KEY), headers = {};
    if (key) headers.Authorization = 'Bearer ' + key;
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    let response;
    try {
      response = await fetch(path, {method, headers, signal, cache: 'no-store',
                                    body: body === undefined ? undefined : JSON.stringify(body)});
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ServerError(0, '');
    }
    if (response.ok) return response;
    if (response.status !== 401) throw await toError(response);
    // Another request may have brought the right key meanwhile.
    if (key === sessionStorage.getItem(KEY)) await askForKey(Boolean(key));
  }
}

const STATUS_WORDS = {
  broken: 'The answer broke off.',
  0: 'The server cannot be reached. Is it still running?',
  400: 'The server did not understand this.',
  403: 'The key may not do this.',
  404: 'The server does not offer this.',
  413: 'This is longer than the server takes.',
  429: 'The server has enough to do.',
  503: 'The server is shutting down.',
  504: 'The deadline has passed.',
};

// An error as a sentence or two.
export function inWords(error) {
  if (!(error instanceof ServerError)) return `Something failed in this page: ${error.message}`;
  const parts = [STATUS_WORDS[error.status] ?? (error.status ? `The server failed (${error.status}).` : ''), error.message];
  if (error.retryAfterS) parts.push(`Try again in ${error.retryAfterS} s.`);
  return parts.filter(Boolean).join(' ');
}
