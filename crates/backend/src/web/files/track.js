// Tracking page of one parcel.

import { alerts } from './alerts.js';
import { ask } from './api.js';
import { by, element, svg, write } from './dom.js';
import { manage } from './manage.js';
import { PlaceMap } from './map.js';
import { direction, distance } from './mercator.js';
import { headline, progress, proof, timeline, when, why } from './steps.js';
import { follow } from './stream.js';
import { dateOf, learn, secondsOf } from './time.js';
import { metres, say } from './words.js';

const path = `/api/v1/track/${location.pathname.split('/')[2]}`;
// The van is removed from the map after this time without an update.
const STALE_MS = 90_000;
// Minimum interval between announcements of the position; the map updates at once.
const SAY_MS = 20_000;
// A shorter disconnect is not shown.
const LOST_MS = 2_000;

let view = null;
let map = null;
let tiles = null;
let heard = 0;
let apart = 0;
let lost = 0;
let gone = 0;
let saidAt = 0;

function show(next) {
  const changed = view?.status !== next.status;
  learn(next.at);
  if (next.live && next.live.at !== view?.live?.at) {
    // The van moves for as long as the last update took; after a break it jumps.
    const gap = performance.now() - heard;
    apart = heard && gap < 30_000 ? Math.max(1_000, gap) : 0;
    heard = performance.now();
  }
  view = next;
  connected();
  document.title = `${headline(view)} · ${view.number}`;
  document.body.dataset.status = view.status;
  write(by('number'), say('track.number', { number: view.number }));
  write(by('status'), headline(view));
  write(by('when'), when(view));
  write(by('why'), why(view));
  if (changed) write(by('said'), `${headline(view)}. ${when(view)}`);
  progress(view);
  live(view);
  proof(view);
  timeline(view);
  manage(by('manage'), view, path, show);
  alerts(by('alerts'), view, path, show, tiles?.alerts);
  write(by('expires'), view.expires_at ? say('track.expires', { day: dateOf(view.expires_at) }) : '');
}

function live({ live: van, stops_away: away = null, status, delay }) {
  const counted = status === 'out_for_delivery' && away !== null;
  by('live').hidden = !van && !counted && status !== 'arrived';
  stops(counted ? away : null, van);
  by('map').hidden = !van;
  if (!van) {
    map?.remove('van');
    map = null;
    by('map').replaceChildren();
    saidAt = 0;
    write(by('where'), counted ? say(delay ? 'live.delayed' : 'live.hidden') : status === 'arrived' ? say('live.arrived') : '');
    return;
  }
  map ??= new PlaceMap(by('map'), { tiles, label: say('live.map') });
  map.place('station', van.station, { kind: 'station', label: say('live.station'), aside: true });
  map.place('stop', van.stop, { kind: 'home', label: say('live.you'), rank: 1 });
  map.place('van', van, { kind: 'van', label: say('live.van'), shape: van.frozen ? 'frozen' : '', over: apart, rank: 2 });
  if (performance.now() - saidAt < SAY_MS && saidAt) return;
  saidAt = performance.now();
  const far = distance(van.stop, van);
  const place = far < 200
    ? say('live.near')
    : say('live.where', { distance: metres(far), direction: say(`direction.${direction(van.stop, van)}`) });
  write(by('where'), [place, van.frozen ? say('live.frozen') : ''].filter(Boolean).join(' '));
}

// The stops before the recipient's own, as dots without addresses.
function stops(away, van) {
  const host = by('stops');
  host.hidden = away === null;
  const text = van ? say('live.done', { n: van.stops_done, all: van.stops_total }) : say('live.stops', { n: away ?? 0 });
  if (host.dataset.shown === `${away} ${text}`) return;
  host.dataset.shown = `${away} ${text}`;
  if (away === null) return;
  const shown = Math.min(away, 8);
  const width = 44 + (shown + 1) * 26;
  const dots = Array.from({ length: shown }, (_, n) => svg('circle', { cx: 44 + (n + 0.5) * 26, cy: 16, r: 5, class: 'dot' }));
  const more = away > shown ? element('span', { class: 'more' }, `+${away - shown}`) : null;
  host.replaceChildren(
    svg('svg', { viewBox: `0 0 ${width} 32`, width, height: 32, 'aria-hidden': 'true', class: 'strip' },
      svg('path', { d: `M32 16H${width - 14}`, class: 'way' }),
      ...dots,
      svg('g', { transform: 'translate(16 16)', class: 'van' }, svg('circle', { r: 14 }),
        svg('path', { d: 'M-7-4.5h8.5v8.5H-7zM1.5-2H5l2.5 3v3h-6z' })),
      svg('g', { transform: `translate(${width - 14} 16)`, class: 'home' }, svg('circle', { r: 12 }),
        svg('path', { d: 'M0-6l6 5.2H4.3v6h-3v-4h-2.6v4h-3v-6H-6z' }))),
    more ?? '',
    element('span', { class: 'stops-text' }, text));
}

function connected() {
  clearTimeout(lost);
  clearTimeout(gone);
  lost = 0;
  write(by('link'), '');
}

function broken() {
  if (lost) return;
  lost = setTimeout(() => {
    write(by('link'), view ? say('link.lost', { time: secondsOf(view.at) }) : say('link.first'));
  }, view ? LOST_MS : 0);
  gone = setTimeout(() => {
    if (view?.live) live({ ...view, live: null });
  }, STALE_MS);
}

function refused(status) {
  connected();
  document.body.dataset.status = 'refused';
  view = null;
  map = null;
  const key = status === 410 ? 'gone' : status === 404 ? 'unknown' : 'refused';
  document.title = say(`track.${key}`);
  by('main').replaceChildren(
    element('section', { class: 'headline' },
      element('h1', { tabindex: '-1' }, say(`track.${key}`)),
      element('p', { class: 'when' }, say(`track.${key}_hint`)),
      element('p', {}, element('a', { href: '/', class: 'button' }, say('track.again')))));
}

// The first map waits briefly for the tile configuration.
const patience = new Promise((resolve) => setTimeout(resolve, 1_500, null));
tiles = await Promise.race([ask('GET', '/api/v1/pages').catch(() => null), patience]);
follow(`${path}/live`, { event: (name, data) => name === 'view' && show(data), lost: broken, refused });
