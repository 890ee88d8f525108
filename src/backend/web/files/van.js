// One van: where it is, its stops, its day, what waits in its outbox, what has not arrived.

import { ask } from './api.js';
import { element, keep, write } from './dom.js';
import { gaps, health } from './found.js';
import { PlaceMap } from './map.js';
import { follow } from './stream.js';
import { ageOf, clockOf, learnFrom, momentOf, now, secondsOf, windowOf } from './time.js';
import { connection, marks, seriousness } from './vans.js';
import { say, word } from './words.js';

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
    stops(page.stops, view.route);
    const route = view.route;
    write(page.sum, route ? say('van.sum', { done: route.stops_done, all: route.stops_total, delivered: route.delivered, parcels: route.parcels }) : say('vans.no_route'));
    write(page.rev, route && route.van_rev !== route.rev
      ? say(route.van_rev ? 'van.rev_old' : 'van.rev_none', { rev: String(route.rev), van_rev: String(route.van_rev) }) : '');
    if (route) {
      map.place('station', route.station, { kind: 'station', label: say('live.station') });
      for (const stop of route.stops) map.place(`stop:${stop.seq}`, stop.at, { kind: 'stop', label: String(stop.seq), shape: stop.state });
    }
    map.keepOnly('stop:', route ? route.stops.map((stop) => `stop:${stop.seq}`) : []);
    if (view.position) map.place('van', view.position, { kind: 'van', label: view.van, shape: seriousness(view), over: 1_000 });
    else map.remove('van');
  }

  async function day() {
    const span = midnights(page.day.value || today());
    const query = new URLSearchParams(span);
    const found = await ask('GET', `${path}/day?${query}`);
    trail = found.trail.map(spotOf);
    map.line('trail', trail, 'trail');
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
  let stale = 0;
  follow('/api/v1/vans/live', {
    event: (kind, next) => {
      if (kind !== 'van' || next.van !== view.van) return;
      connection(next);
      const isToday = page.day.value === today();
      const moved = next.position && next.position.seq !== view.position?.seq;
      const happened = JSON.stringify(next.route) !== JSON.stringify(view.route);
      show(next);
      if (isToday && moved) map.line('trail', trail = [...trail, next.position], 'trail');
      // What happened to stops and parcels is in the day's events too.
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
    stops: element('ol', { class: 'stop-list' }), events: element('ol', { class: 'happenings' }),
    health: element('dl', { class: 'facts' }), gaps: element('div', {}),
  };
  made.sections = [
    element('section', { class: 'over' },
      element('p', {}, element('a', { href: '/desk', class: 'back' }, say('desk.vans'))),
      element('h1', {}, element('bdi', {}, name)), made.tags, made.where),
    element('section', { class: 'sheet part-map', 'aria-labelledby': 'part-day' },
      element('h2', { id: 'part-day' }, say('van.day')),
      element('div', { class: 'field inline' }, element('label', { for: 'day' }, say('van.date')), made.day),
      made.dayNote, made.map),
    part('gaps', made.gaps),
    part('health', made.health),
    part('stops', made.sum, made.rev, made.stops),
    part('events', made.events),
  ];
  const [over, ...rest] = made.sections;
  const column = (...parts) => element('div', { class: 'column' }, parts);
  made.sections = [over, column(...rest.slice(0, 3)), column(...rest.slice(3))];
  return made;
}

function whereabouts(view) {
  if (!view.position) return say(view.state?.duty === 'off' ? 'van.off' : 'van.nowhere', { age: ageOf(view.heard_at) });
  const { speed_mps: speed, stop_status: status } = view.position;
  if (view.position_age_s > 90) return say('van.last', { time: momentOf(view.position.ts), age: ageOf(view.position.ts) });
  const moves = status === 'stopped_at' || !speed ? say('van.stands') : say('van.drives', { n: Math.round(speed * 3.6) });
  return say('van.where', { moves, time: secondsOf(view.position.ts) });
}

function stops(list, route) {
  keep(list, route?.stops ?? [], (stop) => stop.seq, (stop) => {
    const times = [
      stop.promised ? say('van.promised', { window: windowOf(stop.promised) }) : '',
      stop.eta ? say(stop.state === 'done' ? 'van.was' : 'van.eta', { window: stop.state === 'done' ? clockOf(stop.eta.from) : windowOf(stop.eta) }) : '',
    ].filter(Boolean).join(' · ');
    return element('li', { class: `stop ${stop.state}` },
      element('span', { class: 'stop-number' }, String(stop.seq)),
      element('div', {},
        element('p', {}, element('bdi', {}, stop.id), ' ', element('span', { class: `tag ${stop.state}` }, word('stop', stop.state))),
        times ? element('p', { class: 'hint' }, times) : null,
        element('ul', { class: 'parcels' }, stop.parcels.map((parcel) => element('li', {},
          element('a', { href: `/desk/trace/${encodeURIComponent(parcel.number)}` }, element('bdi', {}, parcel.number)),
          ' ', element('span', { class: `tag status-${parcel.status}` }, say(`parcel.${parcel.status}`)))))));
  });
}

function happenings(list, events) {
  const newest = events.toReversed();
  keep(list, newest.length ? newest.slice(0, 300) : [{ none: true }], (event) => (event.none ? 'none' : `${event.at} ${event.kind} ${event.parcels[0] ?? ''}`),
    (event) => (event.none
      ? element('li', { class: 'empty' }, say('van.no_events'))
      : element('li', {},
        element('time', { datetime: event.at }, momentOf(event.at)),
        element('span', {}, word('kind', event.kind)),
        element('span', { class: 'hint' }, event.parcels.map((number, n) => [n ? ', ' : '',
          element('a', { href: `/desk/trace/${encodeURIComponent(number)}` }, element('bdi', {}, number))]).flat()))));
}
