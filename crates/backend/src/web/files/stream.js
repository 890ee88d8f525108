// Follows a path of server-sent events while the page is open.
//
// Uses `fetch`: an EventSource exposes neither the status of a rejected request nor the keep-alive
// comments, and does not reconnect after a rejection.

const SILENT_MS = 40_000;
const FIRST_MS = 500;
const MOST_MS = 30_000;
// Browsers allow six connections per server across all pages. A hidden page therefore closes its
// stream and reconnects briefly at intervals, to keep its title current.
const UNSEEN_MS = 5_000;
const NOW_AND_THEN_MS = 60_000;

// Calls `event(name, data)`, `lost()` once per disconnect, and `refused(status)` for a permanent
// status below 500. Returns a function that stops following.
export function follow(path, { event, lost, refused }) {
  let tries = 0;
  let timer = 0;
  let request = null;
  let stopped = false;
  let asleep = false;
  let nap = 0;

  function again(wait) {
    clearTimeout(timer);
    timer = setTimeout(run, wait);
  }

  function nod() {
    clearTimeout(nap);
    if (!document.hidden || stopped) return;
    nap = setTimeout(() => {
      asleep = true;
      request?.abort();
    }, UNSEEN_MS);
  }

  async function run() {
    clearTimeout(timer);
    request?.abort();
    asleep = false;
    nod();
    const mine = (request = new AbortController());
    let watch = 0;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => mine.abort(), SILENT_MS);
    };
    let wait = null;
    try {
      alive();
      const headers = { accept: 'text/event-stream' };
      const response = await fetch(path, { headers, cache: 'no-store', signal: mine.signal });
      if (!response.ok) {
        wait = Number(response.headers.get('retry-after')) * 1000 || null;
        if (response.status < 500 && response.status !== 429) {
          stopped = true;
          refused(response.status);
        }
        throw new Error(`${response.status}`);
      }
      await read(response.body, alive, (name, data) => {
        tries = 0;
        event(name, data);
      });
    } catch {
      // Every error leads to a retry.
    }
    clearTimeout(watch);
    if (stopped || request !== mine) return;
    if (asleep) {
      again(NOW_AND_THEN_MS);
      return;
    }
    lost();
    wait ??= Math.min(MOST_MS, FIRST_MS * 2 ** tries) * (0.5 + Math.random() / 2);
    tries += 1;
    again(wait);
  }

  // Reconnects at once when the page becomes visible or the network returns.
  const hurry = () => {
    nod();
    if (!stopped && !document.hidden && (tries > 0 || asleep)) run();
  };
  const leave = () => request?.abort();
  addEventListener('online', hurry);
  addEventListener('pageshow', hurry);
  addEventListener('pagehide', leave);
  document.addEventListener('visibilitychange', hurry);
  run();
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(nap);
    request?.abort();
    removeEventListener('online', hurry);
    removeEventListener('pageshow', hurry);
    removeEventListener('pagehide', leave);
    document.removeEventListener('visibilitychange', hurry);
  };
}

// Parses server-sent events (HTML §9.2.6), without `id` and `retry`: each event is self-contained.
async function read(body, alive, event) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let name = '';
  let data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    text += value;
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop();
    for (const line of lines) {
      const [, field, content] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (line === '') {
        if (data.length) event(name || 'message', JSON.parse(data.join('\n')));
        name = '';
        data = [];
      } else if (field === 'event') name = content;
      else if (field === 'data') data.push(content);
    }
  }
}
