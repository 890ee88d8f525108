// Renders headline, progress and timeline of a parcel.

import { by, element, keep, write } from './dom.js';
import { clockOf, dayOf, duration, momentOf, windowOf, zone } from './time.js';
import { say, word } from './words.js';

const STEPS = ['announced', 'in_transit', 'at_station', 'out_for_delivery', 'delivered'];
const REACHED = {
  announced: 0, in_transit: 1, at_station: 2, out_for_delivery: 3, arrived: 3,
  delivered: 4, attempted: 3, available_for_pickup: 3, returned: 2,
};
// Progress of a parcel with a problem, by its last stage.
const STAGES = {
  packed: 0, shipped: 1, picked_up: 1, arrived_at_hub: 1, sorted: 1, at_station: 2, loaded: 2,
  out_for_delivery: 3, arrived: 3, attempted: 3, available_for_pickup: 3,
};
const ENDED = ['delivered', 'attempted', 'available_for_pickup', 'returned', 'problem'];

export const headline = (view) =>
  view.status !== 'out_for_delivery' || (view.stops_away ?? null) === null
    ? say(`status.${view.status}`)
    : say('status.stops', { n: view.stops_away });

export function when(view) {
  const last = view.timeline.at(-1);
  if (view.status === 'delivered') return say('when.delivered', { day: dayOf(view.proof?.at ?? last.at), time: clockOf(view.proof?.at ?? last.at) });
  if (ENDED.includes(view.status)) return last ? say('when.since', { time: momentOf(last.at) }) : '';
  if (view.status === 'arrived') return say('when.arrived');
  if (view.eta) return say('when.eta', { window: windowOf(view.eta) });
  if (view.promised) return say('when.promised', { window: windowOf(view.promised) });
  return say('when.unknown');
}

// Explains a delay or another deviation.
export function why(view) {
  const said = [];
  if (view.delay) {
    const reason = view.delay.reason ? word('delay', view.delay.reason) : '';
    const late = view.delay.seconds ? duration(view.delay.seconds) : '';
    const key = `late.${reason ? 'reason' : 'plain'}${late ? '_by' : ''}`;
    said.push(say(key, { reason, late }));
  }
  if (['attempted', 'returned', 'problem'].includes(view.status)) {
    const last = view.timeline.findLast((step) => step.reason);
    if (last) said.push(say('why.reason', { reason: word('reason', last.reason) }));
    said.push(say(`next.${view.status}`));
  }
  if (view.status === 'available_for_pickup') said.push(say('next.available_for_pickup'));
  if (view.route_changed) said.push(say('why.route_changed'));
  return said.join(' ');
}

export function progress(view) {
  const trouble = ['attempted', 'returned', 'problem'].includes(view.status);
  const reached = REACHED[view.status]
    ?? view.timeline.reduce((most, step) => Math.max(most, STAGES[step.stage] ?? 0), 0);
  const list = by('progress');
  list.hidden = false;
  list.classList.toggle('trouble', trouble);
  keep(list, STEPS.map((step, n) => ({ step, state: n < reached ? 'done' : n === reached ? 'now' : 'ahead' })),
    ({ step }) => step,
    ({ step, state }) => element('li', { class: state, 'aria-current': state === 'now' ? 'step' : null },
      element('span', {}, say(`step.${step}`)),
      state === 'done' ? element('span', { class: 'unseen' }, ` ${say('step.done')}`) : null));
}

export function timeline(view) {
  by('history').hidden = view.timeline.length === 0;
  write(by('zone'), say('history.zone', { zone: zone() }));
  keep(by('timeline'), view.timeline.toReversed().map((step) => ({ ...step, day: dayOf(step.at) })),
    (step) => `${step.stage} ${step.at} ${step.place ?? ''}`,
    (step) => element('li', { class: `stage-${step.stage}` },
      element('p', { class: 'stage' }, say(`stage.${step.stage}`),
        step.reason ? `: ${word('reason', step.reason)}` : null),
      element('p', { class: 'hint' },
        element('time', { datetime: step.at }, `${step.day}, ${clockOf(step.at)}`),
        step.place ? ` · ${step.place}` : null,
        step.by ? ` · ${step.by}` : null)));
}

export function proof(view) {
  const section = by('proof');
  section.hidden = !view.proof;
  if (!view.proof) return;
  const { at, outcome, at_your_stop: here, as_asked: asked } = view.proof;
  const rows = [
    [say('proof.at'), `${dayOf(at)}, ${clockOf(at)}`],
    [say('proof.how'), word('outcome', outcome)],
    here === null || here === undefined ? null : [say('proof.where'), say(here ? 'proof.here' : 'proof.elsewhere')],
    asked === null || asked === undefined ? null : [say('proof.asked'), say(asked ? 'proof.as_asked' : 'proof.not_as_asked')],
  ].filter(Boolean);
  section.classList.toggle('doubt', here === false || asked === false);
  keep(section.querySelector('dl'), rows, ([name]) => name,
    ([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value)));
}
