// All vans: a list with those first that need somebody, and a map.

import { ask } from './api.js';
import { by, element, keep, write } from './dom.js';
import { PlaceMap } from './map.js';
import { follow } from './stream.js';
import { ageOf, clockOf, learnFrom } from './time.js';
import { say, word } from './words.js';

const WORST = ['offline', 'manifest_refused', 'scan_outside', 'missing', 'gaps', 'other_domain', 'no_fix', 'delayed', 'backlog'];
const weight = (mark) => (WORST.indexOf(mark) + 1 || WORST.length + 1);
const urgency = (van) => Math.min(99, ...van.attention.filter((mark) => mark !== 'off_duty').map(weight));

export const seriousness = (van) => {
  const least = urgency(van);
  if (van.attention.includes('off_duty') && least === 99) return 'off';
  return least <= 5 ? 'bad' : least < 99 ? 'warn' : 'good';
};

export const marks = (van) => van.attention.map((mark) =>
  element('span', { class: `tag ${mark === 'off_duty' ? 'off' : weight(mark) <= 5 ? 'bad' : 'warn'}` }, word('attention', mark)));

// What a link says for itself, the same in the room of all vans and of one.
export function connection(view) {
  if (view) write(by('link'), '');
  else write(by('link'), say('link.desk'));
}

export async function vans({ main, pages, door }) {
  const known = new Map();
  for (const van of await ask('GET', '/api/v1/vans')) {
    learnFrom(van);
    known.set(van.van, van);
  }
  document.title = say('desk.vans');
  const sum = element('p', { class: 'sum', role: 'status' });
  const list = element('ul', { class: 'vans' });
  const empty = element('p', { class: 'empty' }, say('vans.none'));
  const search = element('input', { id: 'search', type: 'search', autocomplete: 'off', spellcheck: 'false', oninput: () => show() });
  const place = element('div', { class: 'map-place' });
  main.className = 'room room-vans';
  main.replaceChildren(
    element('section', { class: 'pane', 'aria-labelledby': 'vans-title' },
      element('h1', { id: 'vans-title' }, say('desk.vans')), sum,
      element('div', { class: 'field' }, element('label', { for: 'search' }, say('vans.search')), search),
      empty, list),
    element('section', { class: 'pane pane-map', 'aria-label': say('vans.map') }, place));
  const map = new PlaceMap(place, { tiles: pages, label: say('vans.map'), touch: 'none' });
  let drawn = 0;

  function show() {
    drawn = 0;
    const wanted = search.value.trim().toLowerCase();
    const all = [...known.values()];
    const found = all
      .filter((van) => `${van.van} ${van.route?.route ?? ''}`.toLowerCase().includes(wanted))
      .sort((a, b) => urgency(a) - urgency(b) || a.van.localeCompare(b.van, undefined, { numeric: true }));
    const troubled = all.filter((van) => ['bad', 'warn'].includes(seriousness(van))).length;
    write(sum, `${say('vans.sum', { n: all.length })} · ${say('vans.troubled', { n: troubled })}`);
    empty.hidden = all.length > 0;
    keep(list, found.map(brief), ({ van }) => van, row);
    for (const van of all) draw(van);
    map.keepOnly('van:', all.filter((van) => van.position).map((van) => `van:${van.van}`));
  }

  function draw(van) {
    if (!van.position) return;
    const open = () => location.assign(address(van.van));
    map.place(`van:${van.van}`, van.position, {
      kind: 'van', label: van.van, shape: seriousness(van), over: 1_000, act: open,
    });
  }

  show();
  map.fit(true);
  // How long ago it was changes without news.
  setInterval(show, 20_000);
  follow('/api/v1/vans/live', {
    event: (name, van) => {
      if (name !== 'van') return;
      known.set(van.van, van);
      learnFrom(van);
      connection(van);
      // Fifty vans speak at once: one picture for all of them.
      drawn ||= requestAnimationFrame(show);
    },
    lost: () => connection(null),
    refused: door,
  });
}

export const address = (van) => `/desk/vans/${encodeURIComponent(van)}`;

// What a row shows, so that it is made anew only when that changes.
const brief = (van) => ({
  van: van.van,
  attention: van.attention,
  serious: seriousness(van),
  route: van.route?.route ?? '',
  stops: van.route ? [van.route.stops_done, van.route.stops_total] : null,
  parcels: van.route ? [van.route.delivered, van.route.parcels] : null,
  heard: seriousness(van) === 'good' ? '' : van.heard_at,
  age: seriousness(van) === 'good' ? '' : ageOf(van.heard_at),
});

function row(van) {
  return element('li', { class: `van ${van.serious}` },
    element('a', { href: address(van.van) },
      element('span', {}, element('strong', {}, element('bdi', {}, van.van)), ' ',
        element('span', { class: 'hint' }, element('bdi', {}, van.stops ? van.route : say('vans.no_route')))),
      element('span', { class: 'tags' }, marks(van)),
      van.stops
        ? element('span', { class: 'hint' }, say('vans.route', { done: van.stops[0], all: van.stops[1], delivered: van.parcels[0], parcels: van.parcels[1] }))
        : null,
      van.stops ? bar(van.stops) : null,
      van.heard ? element('span', { class: 'hint' }, say('vans.heard', { age: van.age, time: clockOf(van.heard) })) : null));
}

function bar([done, all]) {
  return element('progress', { max: Math.max(1, all), value: done, 'aria-hidden': 'true' });
}

