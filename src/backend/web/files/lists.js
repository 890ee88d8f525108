// What nobody could read, and who looked at what.

import { ask } from './api.js';
import { element } from './dom.js';
import { table } from './found.js';
import { momentOf } from './time.js';
import { bytes, say, word } from './words.js';

async function list(main, key, path, row, heads) {
  document.title = say(`desk.${key}`);
  const rows = await ask('GET', path);
  main.className = 'room room-list';
  main.replaceChildren(element('section', { class: 'sheet', 'aria-labelledby': 'list-title' },
    element('h1', { id: 'list-title' }, say(`desk.${key}`)),
    element('p', { class: 'hint' }, say(`${key}.lead`)),
    rows.length ? table(heads.map((head) => say(`${key}.${head}`)), rows.map(row)) : element('p', { class: 'empty' }, say(`${key}.none`))));
}

export const poison = ({ main }) => list(main, 'poison', '/api/v1/poison',
  (row) => [momentOf(row.received_at), row.topic, row.reason, bytes(row.bytes)], ['at', 'topic', 'reason', 'size']);

export const audit = ({ main }) => list(main, 'audit', '/api/v1/audit',
  (row) => [momentOf(row.at), row.who, word('looked', row.what), row.target], ['at', 'who', 'what', 'target']);
