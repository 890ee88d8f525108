// Dead letters and audit log.

import { ask } from './api.js';
import { element } from './dom.js';
import { table } from './found.js';
import { dateOf, momentOf } from './time.js';
import { bytes, say, word } from './words.js';

// Target of a history entry: van and start time.
const DAY = /^(\S+) (\S+Z)\/\S+$/;

// Page size of the API.
const ROWS = 100;

async function list(main, key, path, row, heads) {
  document.title = say(`desk.${key}`);
  const rows = await ask('GET', path);
  const body = (found) => table(heads.map((head) => say(`${key}.${head}`)), found.map(row));
  const older = element('button', {
    type: 'button',
    hidden: rows.length < ROWS,
    onclick: async () => {
      const more = await ask('GET', `${path}?before=${rows.at(-1).n}`).catch(() => []);
      rows.push(...more);
      older.hidden = more.length < ROWS;
      main.querySelector('table')?.replaceWith(body(rows));
    },
  }, say('list.older'));
  main.className = 'room room-list';
  main.replaceChildren(element('section', { class: 'sheet', 'aria-labelledby': 'list-title' },
    element('h1', { id: 'list-title' }, say(`desk.${key}`)),
    element('p', { class: 'hint' }, say(`${key}.lead`)),
    rows.length ? body(rows) : element('p', { class: 'empty' }, say(`${key}.none`)), older));
}

// Buttons that process a rejected message again, or delete it.
function acts(row) {
  const said = element('span', { role: 'status' });
  const act = (method, path, key) => element('button', {
    type: 'button',
    onclick: async (event) => {
      try {
        await ask(method, path);
        event.target.parentElement.replaceChildren(say(`poison.${key}_done`));
      } catch (refused) {
        said.textContent = ` ${refused.detail ?? refused.message}`;
      }
    },
  }, say(`poison.${key}`));
  const path = `/api/v1/poison/${row.n}`;
  return element('span', {}, act('POST', `${path}/retry`, 'retry'), ' ', act('DELETE', path, 'drop'), said);
}

export const poison = ({ main }) => list(main, 'poison', '/api/v1/poison',
  (row) => [momentOf(row.received_at), row.topic, row.reason, bytes(row.bytes), acts(row)],
  ['at', 'topic', 'reason', 'size', 'acts']);

// Returns no target if it is the same for all entries of a kind.
function target({ what, target: of }) {
  if (of === 'all' || of === 'begun') return '';
  const [, van, from] = DAY.exec(of) ?? [];
  if (what === 'day' && van) return `${van}, ${dateOf(from)}`;
  return of === 'live' ? say('looked.live') : of;
}

export const audit = ({ main }) => list(main, 'audit', '/api/v1/audit',
  (row) => [momentOf(row.at), row.who, word('looked', row.what), target(row)], ['at', 'who', 'what', 'target']);
