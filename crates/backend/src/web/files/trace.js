// Trace of a parcel: last sighting, next expected step, and the search case.

import { ask, once } from './api.js';
import { element, field, write } from './dom.js';
import { table } from './found.js';
import { PlaceMap } from './map.js';
import { ageOf, momentOf, secondsOf } from './time.js';
import { address } from './vans.js';
import { exactly, number, say, word } from './words.js';

const to = (parcel) => `/desk/trace/${encodeURIComponent(parcel)}`;
const link = (parcel) => element('a', { href: to(parcel) }, element('bdi', {}, parcel));

export async function trace({ main, name, pages, door }) {
  document.title = name || say('desk.trace');
  const input = element('input', { id: 'number', type: 'search', autocomplete: 'off', spellcheck: 'false', value: name });
  const form = element('form', { class: 'search', role: 'search' },
    element('h1', {}, say('desk.trace')),
    field(say('trace.number'), input, say('trace.hint')),
    element('button', { class: 'primary' }, say('trace.find')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (input.value.trim()) location.assign(to(input.value.trim()));
    else input.focus();
  });
  const found = element('div', { class: 'found' });
  main.className = 'room room-trace';
  main.replaceChildren(form, found);
  if (!name) {
    // Checks authorization before the user types a number.
    await ask('GET', '/api/v1/vans');
    input.focus();
    return;
  }
  const path = `/api/v1/trace/${encodeURIComponent(name)}`;
  try {
    show(found, await ask('GET', path), path, pages);
  } catch (refusal) {
    if (refusal.status === 401 || refusal.status === 403) door();
    else if (refusal.status) found.replaceChildren(element('p', { class: 'sheet empty', role: 'status' }, refusal.status === 404 ? say('trace.unknown') : refusal.text));
    else throw refusal;
  }
}

function show(found, view, path, pages) {
  const place = element('div', { class: 'map-place' });
  const part = (key, ...children) => element('section', { class: `sheet part-${key}`, 'aria-labelledby': `part-${key}` },
    element('h2', { id: `part-${key}` }, say(`trace.${key}`)), ...children);
  const spots = view.sightings.filter((sighting) => sighting.spot);
  const column = (...parts) => element('div', { class: 'column' }, parts);
  found.replaceChildren(
    column(
      part('last', last(view),
        others(view),
        view.suspicions.length ? element('ul', { class: 'suspicions' }, view.suspicions.map((word_) => element('li', { class: 'notice' }, word('suspicion', word_)))) : null,
        element('p', {}, view.expected ? say('trace.expected', { stage: say(`stage.${view.expected}`) }) : say('trace.complete'))),
      part('map', spots.length ? place : element('p', { class: 'empty' }, say('trace.no_spot')))),
    column(
      part('case', caseOf(view, path, (next) => show(found, next, path, pages))),
      part('timeline', element('ol', { class: 'timeline' }, view.timeline.toReversed().map((step) => element('li', { class: `stage-${step.stage}` },
        element('p', { class: 'stage' }, say(`stage.${step.stage}`), step.reason ? `: ${word('reason', step.reason)}` : null),
        element('p', { class: 'hint' }, [momentOf(step.at), step.place, step.by].filter(Boolean).join(' · ')))))),
      part('handled', view.handled_there.length
        ? element('ul', { class: 'parcels' }, view.handled_there.map((parcel) => element('li', {}, link(parcel))))
        : element('p', { class: 'empty' }, say('trace.nothing_else')))),
    part('sightings', table(
      ['at', 'kind', 'van', 'stop', 'away', 'accuracy'].map((head) => say(`sighting.${head}`)),
      view.sightings.toReversed().map((sighting) => [momentOf(sighting.at), what(sighting),
        sighting.van ? element('a', { href: address(sighting.van) }, element('bdi', {}, sighting.van)) : '',
        sighting.stop ?? '', away(sighting), accuracy(sighting)]))));
  if (!spots.length) return;
  const map = new PlaceMap(place, { tiles: pages, label: say('trace.map'), touch: 'none' });
  map.line('trail', view.trail.map(([, lat, lon]) => ({ lat, lon })), 'trail');
  spots.forEach((sighting, n) => map.place(`seen:${n}`, sighting.spot, {
    kind: 'seen', shape: sighting.event_id === view.last_seen?.event_id ? 'last' : '',
    label: sighting.event_id === view.last_seen?.event_id ? secondsOf(sighting.at) : '',
  }));
  map.fit(true, view.trail.length > 1 ? '' : 'seen:');
}

// The same number may be that of several parcels.
const others = (view) => (view.others?.length
  ? element('p', { class: 'notice' }, say('trace.others'), ' ', view.others.flatMap((epc, n) => [n ? ', ' : '', link(epc)]))
  : null);

const accuracy = ({ acc_m: radius }) => (radius === null || radius === undefined ? '' : `± ${number(Math.ceil(radius))} m`);
const away = ({ distance_m: way }) => (way === null || way === undefined ? '' : exactly(way));
const what = ({ kind, alert, reason }) =>
  [word('kind', kind), reason ? word('reason', reason) : '', alert ? word('alert', alert) : ''].filter(Boolean).join(' · ');

function last(view) {
  const { last_seen: seen, number: parcel } = view;
  const name = element('p', { class: 'number' }, element('bdi', {}, parcel));
  if (!seen) return element('div', {}, name, element('p', { class: 'lead' }, say('trace.never')));
  const facts = [
    [say('sighting.at'), `${momentOf(seen.at)} (${ageOf(seen.at)})`],
    [say('sighting.kind'), what(seen)],
    seen.van ? [say('sighting.van'), element('a', { href: address(seen.van) }, element('bdi', {}, seen.van))] : null,
    seen.stop ? [say('sighting.stop'), seen.stop] : null,
    view.due ? [say('sighting.due'), away(seen) ? say('sighting.due_away', { due: view.due, far: away(seen) }) : view.due] : null,
    seen.spot ? [say('sighting.spot'), `${seen.spot.lat.toFixed(5)}, ${seen.spot.lon.toFixed(5)} ${accuracy(seen)}`] : null,
  ].filter(Boolean);
  return element('div', {}, name,
    element('dl', { class: 'facts' }, facts.map(([head, value]) => element('div', {}, element('dt', {}, head), element('dd', {}, value)))));
}

function caseOf(view, path, show_) {
  const refused = element('p', { class: 'refused', role: 'alert', hidden: true });
  const note = element('textarea', { id: 'note', rows: 2, maxlength: 500 });
  note.value = view.case_note ?? '';
  const form = element('form', {});
  const close = (state) => once(form, async () => {
    try {
      show_(await ask('PUT', `${path}/case`, { state, note: note.value.trim(), epc: view.epc }));
    } catch (refusal) {
      write(refused, refusal.text);
    }
  });
  const act = (state, kind) => (view.case_state === state ? null
    : element('button', { type: 'button', class: kind, onclick: () => close(state) }, say(`case.make_${state}`)));
  const over = view.case_state === 'none' || view.case_state === 'found';
  form.append(
    element('p', {}, element('span', { class: `tag case-${view.case_state}` }, say(`case.${view.case_state}`))),
    field(say('case.note'), note), refused,
    element('p', { class: 'row' }, over ? act('open', view.case_state === 'none' ? 'primary' : '') : [act('found', 'primary'), act('lost', '')]));
  form.addEventListener('submit', (event) => event.preventDefault());
  return form;
}
