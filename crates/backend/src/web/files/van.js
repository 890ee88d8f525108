// Page of one van: position, stops, history, outbox and gaps.

import { ask } from './api.js';
import { element, keep, write } from './dom.js';
import { gaps, health } from './found.js';
import { PlaceMap } from './map.js';
import { follow } from './stream.js';
import { ageOf, clockOf, learnFrom, momentOf, now, secondsOf, windowOf } from './time.js';
import { concern, connection, marks, rank, seriousness } from './vans.js';
import { say, word } from './words.js';

// Drawing order of stop states.
const STATES = ['done', 'open', 'skipped', 'arrived'];
// Maximum number of parcel numbers shown for an event of the whole load.
const NUMBERS = 3;
// An older position is shown with its age.
const OLD_MS = 90_000;
const spotOf = ([, lat, lon]) => ({ lat, lon });

function midnights(day) {
  const [year, month, date] = day.split('-').map(Number);
  return { from: new Date(year, month - 1, date).toISOString(), until: new Date(year, month - 1, date + 1).toISOString() };
}

function today() {
  const at = now();
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
}

export async function van({ main, name, pages, door }) {
  const path = `/api/v1/vans/${encodeURIComponent(name)}`;
  let view = await ask('GET', path);
  learnFrom(view);
  document.title = view.van;
  const page = layout(view.van);
  main.className = 'room room-van';
  main.replaceChildren(...page.sections);
  const map = new PlaceMap(page.map, { tiles: pages, label: say('van.map', { van: view.van }), touch: 'none' });
  let trail = [];

  function show(next) {
    view = next;
    learnFrom(view);
    page.tags.replaceChildren(...marks(view));
    write(page.where, whereabouts(view));
    health(page.health, view);
    const route = view.route;
    stops(page, route?.stops ?? []);
    page.ask.hidden = view.concerns.length === 0;
    keep(page.concerns, view.concerns, ({ kind, number, due }) => `${kind} ${number} ${due}`, (found) => element('li', { class: 'notice' },
      element('time', { datetime: found.at }, momentOf(found.at)), ' ', concern(found, parcelLink(found.number))));
    write(page.sum, route ? say('van.sum', { done: route.stops_done, all: route.stops_total, delivered: route.delivered, parcels: route.parcels }) : say('vans.no_route'));
    write(page.rev, route && route.van_rev !== route.rev
      ? say(route.van_rev ? 'van.rev_old' : 'van.rev_none', { rev: String(route.rev), van_rev: String(route.van_rev) }) : '');
    if (route) {
      map.place('station', route.station, { kind: 'station', label: say('live.station'), aside: true });
      for (const stop of route.stops) {
        map.place(`stop:${stop.seq}`, stop.at, { kind: 'stop', label: String(stop.seq), shape: stop.state, rank: STATES.indexOf(stop.state) });
      }
    }
    map.keepOnly('stop:', route ? route.stops.map((stop) => `stop:${stop.seq}`) : []);
    if (view.position) map.place('van', view.position, { kind: 'van', shape: seriousness(view), over: 1_000, rank: 9 });
    else map.remove('van');
  }

  async function day() {
    const span = midnights(page.day.value || today());
    const query = new URLSearchParams(span);
    const found = await ask('GET', `${path}/day?${query}`);
    trail = found.trail.map(spotOf);
    map.line('trail', trail, 'trail', { aside: true });
    happenings(page.events, found.events);
    gaps(page.gaps, found.gaps);
    write(page.dayNote, found.trail.length
      ? say('van.trail', { n: found.trail.length, from: clockOf(found.trail[0][0]), until: clockOf(found.trail.at(-1)[0]) })
      : say('van.no_trail'));
  }

  page.day.value = today();
  page.day.addEventListener('change', () => day().then(() => map.fit(true), (refusal) => write(page.dayNote, refusal.text)));
  show(view);
  await day();
  map.fit(true);
  // The age changes without an update.
  setInterval(() => write(page.where, whereabouts(view)), 20_000);
  let stale = 0;
  follow('/api/v1/vans/live', {
    event: (kind, next) => {
      if (kind !== 'van' || next.van !== view.van) return;
      connection(next);
      const isToday = page.day.value === today();
      const moved = next.position && next.position.seq !== view.position?.seq;
      const happened = JSON.stringify(next.route) !== JSON.stringify(view.route);
      show(next);
      if (isToday && moved) map.line('trail', trail = [...trail, next.position], 'trail', { aside: true });
      // A change of stops or parcels adds events to the history.
      if (isToday && happened && !stale) {
        stale = setTimeout(() => { stale = 0; day().catch(() => null); }, 1_000);
      }
    },
    lost: () => connection(null),
    refused: door,
  });
}

function layout(name) {
  const part = (key, ...children) => {
    const id = `part-${key}`;
    return element('section', { class: `sheet part-${key}`, 'aria-labelledby': id }, element('h2', { id }, say(`van.${key}`)), ...children);
  };
  const made = {
    tags: element('p', { class: 'tags' }), where: element('p', { class: 'where' }), sum: element('p', { class: 'sum' }),
    rev: element('p', { class: 'notice' }), map: element('div', { class: 'map-place' }),
    day: element('input', { id: 'day', type: 'date' }), dayNote: element('p', { class: 'hint', role: 'status' }),
    stops: element('ol', { class: 'stop-list' }), doneStops: element('ol', { class: 'stop-list' }),
    events: element('ol', { class: 'happenings' }), concerns: element('ul', { class: 'concerns' }),
    health: element('dl', { class: 'facts' }), gaps: element('div', {}), doneSum: element('summary', {}),
  };
  made.done = element('details', { class: 'done-stops' }, made.doneSum, made.doneStops);
  made.ask = part('ask', made.concerns);
  const column = (...parts) => element('div', { class: 'column' }, parts);
  made.sections = [
    element('section', { class: 'over' },
      element('p', {}, element('a', { href: '/desk', class: 'back' }, say('desk.vans'))),
      element('div', { class: 'row' }, element('h1', {}, element('bdi', {}, name)), made.tags), made.where),
    made.ask,
    column(
      element('section', { class: 'sheet part-map', 'aria-labelledby': 'part-day' },
        element('div', { class: 'row spread' },
          element('h2', { id: 'part-day' }, say('van.day')),
          made.dayNote,
          element('div', { class: 'field inline' }, element('label', { for: 'day' }, say('van.date')), made.day)),
        made.map),
      part('stops', made.sum, made.rev, made.stops, made.done)),
    column(part('events', made.events), part('health', made.health), part('gaps', made.gaps)),
  ];
  return made;
}

function whereabouts(view) {
  const duty = view.state?.duty ?? 'on';
  if (!view.position) {
    return duty === 'on' ? say('van.nowhere', { age: ageOf(view.heard_at) }) : say('van.off', { duty: word('duty', duty) });
  }
  const { speed_mps: speed, motion } = view.position;
  if (now() - Date.parse(view.position.ts) > OLD_MS) return say('van.last', { time: momentOf(view.position.ts), age: ageOf(view.position.ts) });
  const kmh = Math.round((speed ?? 0) * 3.6);
  const moves = motion === 'halted' || kmh < 3 ? say('van.stands') : say('van.drives', { n: kmh });
  return say('van.where', { moves, time: secondsOf(view.position.ts) });
}

const parcelLink = (number) => element('a', { href: `/desk/trace/${encodeURIComponent(number)}` }, element('bdi', {}, number));

// Open stops first.
function stops({ stops: list, doneStops, done, doneSum }, all) {
  const over = all.filter((stop) => stop.state === 'done');
  keep(list, all.filter((stop) => stop.state !== 'done'), (stop) => stop.seq, stopRow);
  keep(doneStops, over, (stop) => stop.seq, stopRow);
  done.hidden = over.length === 0;
  write(doneSum, say('van.done_stops', { n: over.length }));
}

function times(stop) {
  const was = { done: 'van.was', arrived: 'van.since' }[stop.state];
  return [
    stop.eta && (was ? say(was, { time: clockOf(stop.eta.from) }) : say('van.eta', { window: windowOf(stop.eta) })),
    stop.promised && say('van.promised', { window: windowOf(stop.promised) }),
  ].filter(Boolean);
}

function stopRow(stop) {
  return element('li', { class: `stop ${stop.state}` },
    element('span', { class: 'stop-number' }, String(stop.seq)),
    element('div', {},
      element('p', { class: 'row' }, element('bdi', {}, stop.id), element('span', { class: `tag ${stop.state}` }, word('stop', stop.state))),
      element('p', { class: 'hint' }, times(stop).map((text) => element('span', {}, text)))),
    element('ul', { class: 'parcels' }, stop.parcels.map((parcel) => element('li', {},
      parcelLink(parcel.number), ' ', element('span', { class: `tag status-${parcel.status}` }, say(`parcel.${parcel.status}`))))));
}

function happenings(list, events) {
  const newest = events.toReversed();
  keep(list, newest.length ? newest.slice(0, 300) : [{ none: true }], (event) => (event.none ? 'none' : `${event.at} ${event.kind} ${event.parcels[0] ?? ''}`),
    (event) => (event.none ? element('li', { class: 'empty' }, say('van.no_events')) : happening(event)));
}

function happening({ at, kind, parcels, parcels_total: all, stop_seq: stop, reason, alert }) {
  const said = [
    word('kind', kind),
    kind === 'stop.arrived' && stop ? say('kind.stop', { n: stop }) : '',
    reason ? word('reason', reason) : '',
    alert ? word('alert', alert) : '',
  ].filter(Boolean).join(' · ');
  const named = parcels.slice(0, all > parcels.length ? NUMBERS : parcels.length);
  const more = all - named.length;
  return element('li', { class: alert ? 'alert' : null },
    element('time', { datetime: at }, momentOf(at)),
    element('span', {}, said),
    element('span', { class: 'hint' }, named.map((number, n) => [n ? ', ' : '', parcelLink(number)]).flat(),
      more ? ` ${say('concern.more', { n: more })}` : null));
}
