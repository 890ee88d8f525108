// Page of all vans: a list with the most urgent ones first, and a map.

import { ask } from './api.js';
import { by, element, keep, write } from './dom.js';
import { PlaceMap } from './map.js';
import { follow } from './stream.js';
import { ageOf, learnFrom, momentOf, now } from './time.js';
import { exactly, say, word } from './words.js';

const BAD = ['offline', 'manifest_refused', 'scan_outside', 'missing', 'gaps'];
const WORST = [...BAD, 'messages_rejected', 'other_domain', 'wrong_stop', 'not_assigned', 'other_route', 'no_fix', 'delayed', 'backlog'];
// The time of the last message is shown only after this silence.
const QUIET_MS = 90_000;
const weight = (mark) => (WORST.indexOf(mark) + 1 || WORST.length + 1);
const urgency = (van) => Math.min(99, ...van.attention.filter((mark) => mark !== 'off_duty').map(weight));

export const seriousness = (van) => {
  const least = urgency(van);
  if (van.attention.includes('off_duty') && least === 99) return 'off';
  return least <= BAD.length ? 'bad' : least < 99 ? 'warn' : 'good';
};

// Vans that need attention are drawn on top and keep their labels.
export const rank = (van) => ['off', 'good', 'warn', 'bad'].indexOf(seriousness(van));

const needsYou = (van) => rank(van) > 1;

export const marks = (van) => van.attention.map((mark) =>
  element('span', { class: `tag ${mark === 'off_duty' ? 'off' : weight(mark) <= BAD.length ? 'bad' : 'warn'}` },
    mark === 'off_duty' && van.state?.duty === 'break' ? say('duty.break') : word('attention', mark)));

// Connection notice, shared by the pages of all vans and of one van.
export function connection(view) {
  if (view) write(by('link'), '');
  else write(by('link'), say('link.desk'));
}

// Describes a delivery exception; `name` is the parcel number, or a link to it.
export function concern({ kind, number, seen_at: seen, stop, due, distance_m: way, reported }, name = number) {
  const far = way === null || way === undefined ? '' : exactly(way);
  const key = `concern.${kind}${stop && stop !== due ? '_at' : far ? '_far' : ''}`;
  const [before, behind = ''] = say(key, { number: '\n', stop: stop ?? '', due, far, time: momentOf(seen), what: reported ? word('kind', reported) : '' }).split('\n');
  return number ? [before, name, behind] : [before];
}

export async function vans({ main, pages, door }) {
  const known = new Map();
  for (const van of await ask('GET', '/api/v1/vans')) {
    learnFrom(van);
    known.set(van.van, van);
  }
  const chosen = new URLSearchParams(location.search);
  let only = chosen.get('show') ?? '';
  const sum = element('p', { class: 'sum', role: 'status' });
  const list = element('ul', { class: 'vans' });
  const empty = element('p', { class: 'empty', role: 'status' });
  const absent = element('p', { class: 'hint', role: 'status' });
  const filters = element('div', { class: 'filters', role: 'group', 'aria-label': say('vans.filters') });
  const search = element('input', {
    id: 'search', type: 'search', autocomplete: 'off', spellcheck: 'false', 'aria-keyshortcuts': '/', oninput: () => show(),
  });
  const place = element('div', { class: 'map-place' });
  main.className = 'room room-vans';
  main.replaceChildren(
    element('div', { class: 'pane pane-head' },
      element('div', { class: 'row spread' }, element('h1', { id: 'vans-title' }, say('desk.vans')), sum), absent, filters,
      element('div', { class: 'field inline' }, element('label', { for: 'search' }, say('vans.search')), search)),
    element('section', { class: 'pane pane-map', 'aria-label': say('vans.map') }, place),
    element('section', { class: 'pane pane-list', 'aria-labelledby': 'vans-title' }, empty, list));
  const map = new PlaceMap(place, { tiles: pages, label: say('vans.map'), touch: 'none' });
  // Only its operator can act on an absent instance, so once per visit of the page is enough.
  ask('GET', '/api/v1/instances').then((instances) => write(absent, instances
    .filter((instance) => instance.state === 'absent')
    .map((instance) => say('instances.absent', { name: instance.client_id, time: momentOf(instance.last_heartbeat), count: instance.events_missing }))
    .join(' '))).catch(() => {});
  let drawn = 0;
  let order = [];

  function filter(name) {
    only = name;
    if (only) chosen.set('show', only);
    else chosen.delete('show');
    // Keeps the filter when the user navigates back.
    history.replaceState(null, '', chosen.size ? `?${chosen}` : location.pathname);
    show();
  }

  function show() {
    drawn = 0;
    const wanted = search.value.trim().toLowerCase();
    const all = [...known.values()];
    const troubled = all.filter(needsYou).length;
    const matches = (van) => !only || (only === 'troubled' ? needsYou(van) : van.attention.includes(only));
    const found = sorted(all.filter((van) => matches(van)
      && `${van.van} ${van.route?.route ?? ''}`.toLowerCase().includes(wanted)));
    document.title = `${troubled ? `(${troubled}) ` : ''}${say('desk.vans')}`;
    write(sum, `${say('vans.sum', { n: all.length })} · ${say('vans.troubled', { n: troubled })}`);
    write(empty, all.length ? (found.length ? '' : say('vans.none_such')) : say('vans.none'));
    keep(filters, choices(all, troubled), ({ name }) => name, ({ name, count, on }) => element('button', {
      type: 'button', class: 'filter', 'aria-pressed': String(on), onclick: () => filter(on ? '' : name),
    }, labelOf(name), ' ', element('span', { class: 'count' }, String(count))));
    keep(list, found.map(brief), ({ van }) => van, row);
    for (const van of all) draw(van);
    map.keepOnly('van:', all.filter((van) => van.position).map((van) => `van:${van.van}`));
  }

  // Keeps the order while the user is hovering or focusing the list.
  function sorted(found) {
    const held = list.matches(':hover') || list.contains(document.activeElement);
    const place = new Map(order.map((name, n) => [name, n]));
    const where = (van) => place.get(van.van) ?? Infinity;
    const byNeed = (a, b) => urgency(a) - urgency(b) || a.van.localeCompare(b.van, undefined, { numeric: true });
    found.sort((a, b) => (held && where(a) - where(b)) || byNeed(a, b));
    order = found.map((van) => van.van);
    return found;
  }

  function choices(all, troubled) {
    const kinds = [...WORST, 'off_duty'].map((name) => ({ name, count: all.filter((van) => van.attention.includes(name)).length }));
    return [{ name: '', count: all.length }, { name: 'troubled', count: troubled }, ...kinds]
      .filter(({ name, count }) => count || name === '' || name === only)
      .map((choice) => ({ ...choice, on: choice.name === only }));
  }

  function draw(van) {
    if (!van.position) return;
    const open = () => location.assign(address(van.van));
    map.place(`van:${van.van}`, van.position, {
      kind: 'van', label: van.van, shape: seriousness(van), over: 1_000, act: open, rank: rank(van),
    });
  }

  addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea')) return;
    event.preventDefault();
    search.focus();
  });
  show();
  map.fit(true);
  // The age changes without an update.
  setInterval(show, 20_000);
  follow('/api/v1/vans/live', {
    event: (name, van) => {
      if (name !== 'van') return;
      known.set(van.van, van);
      learnFrom(van);
      connection(van);
      // Coalesces the updates of many vans into one frame.
      drawn ||= requestAnimationFrame(show);
    },
    lost: () => connection(null),
    refused: door,
  });
}

export const address = (van) => `/desk/vans/${encodeURIComponent(van)}`;

const labelOf = (name) => (name === '' ? say('vans.all') : name === 'troubled' ? say('vans.need') : word('attention', name));

// Displayed content of a row; a row is rebuilt only when it changes.
function brief(van) {
  const quiet = now() - Date.parse(van.heard_at) > QUIET_MS && seriousness(van) !== 'off';
  return {
    van: van.van,
    attention: van.attention,
    state: { duty: van.state?.duty },
    serious: seriousness(van),
    route: van.route?.route ?? '',
    stops: van.route ? [van.route.stops_done, van.route.stops_total] : null,
    parcels: van.route ? [van.route.delivered, van.route.parcels] : null,
    concerns: van.concerns,
    heard: quiet ? say('vans.heard', { age: ageOf(van.heard_at) }) : '',
  };
}

function row(van) {
  const [first, ...more] = van.concerns;
  return element('li', { class: `van ${van.serious}` },
    element('a', { href: address(van.van) },
      element('span', { class: 'van-line' },
        element('span', {}, element('strong', {}, element('bdi', {}, van.van)), ' ',
          element('span', { class: 'hint' }, element('bdi', {}, van.stops ? van.route : say('vans.no_route')))),
        element('span', { class: 'tags' }, marks(van))),
      element('span', { class: 'van-line hint' },
        van.stops
          ? element('span', {}, say('vans.route', { done: van.stops[0], all: van.stops[1], delivered: van.parcels[0], parcels: van.parcels[1] }))
          : null,
        van.heard ? element('span', {}, van.heard) : null),
      first ? element('span', { class: 'van-concern' }, concern(first), more.length ? ` ${say('concern.more', { n: more.length })}` : null) : null,
      van.stops ? bar(van.stops) : null));
}

function bar([done, all]) {
  return element('progress', { max: Math.max(1, all), value: done, 'aria-hidden': 'true' });
}
