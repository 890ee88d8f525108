// Dispatcher pages: selects the page from the path, and shows the login if needed.

import { ask } from './api.js';
import { by, element, write } from './dom.js';
import { audit, poison } from './lists.js';
import { login } from './login.js';
import { learn } from './time.js';
import { trace } from './trace.js';
import { van } from './van.js';
import { vans } from './vans.js';
import { say } from './words.js';

const [, , room = '', name = ''] = location.pathname.split('/').map(decodeURIComponent);
const rooms = { '': vans, vans: van, trace, poison, audit };
const main = by('main');

// The server's clock: a simulation runs on its own time.
learn(document.documentElement.dataset.now);

function inside(open) {
  by('rooms').hidden = !open;
  by('leave').hidden = !open;
}

async function enter() {
  inside(true);
  for (const link of by('rooms').querySelectorAll('a')) {
    if (new URL(link.href).pathname === `/desk${room && room !== 'vans' ? `/${room}` : ''}`) link.setAttribute('aria-current', 'page');
  }
  main.replaceChildren(element('p', { class: 'hint' }, say('page.loading')));
  try {
    const pages = await ask('GET', '/api/v1/pages').catch(() => null);
    await (rooms[room] ?? vans)({ main, name, pages, door });
  } catch (refusal) {
    if (refusal.status === 401 || refusal.status === 403) door();
    else fail(refusal);
  }
}

function door() {
  inside(false);
  write(by('link'), '');
  login(main, enter);
}

function fail(refusal) {
  if (refusal.status === undefined) throw refusal;
  main.replaceChildren(
    element('section', { class: 'sheet' },
      element('h1', {}, say('desk.failed')),
      element('p', {}, refusal.status === 404 ? say('desk.nothing') : refusal.text),
      element('p', {}, element('button', { type: 'button', class: 'primary', onclick: enter }, say('desk.again')))));
}

by('leave').addEventListener('click', async () => {
  await ask('DELETE', '/api/v1/session').catch(() => null);
  location.assign('/desk');
});

enter();
