// Health of a van, and gaps in its data.

import { element, keep } from './dom.js';
import { ageOf, momentOf } from './time.js';
import { bytes, number, say, word } from './words.js';

export function health(list, { state, connection, heard_at: heard, position_age_s: age }) {
  const rows = [['connection', connection ? word('link', connection) : say('health.unknown'), connection !== 'online']];
  rows.push(['heard', ageOf(heard), false]);
  if (age !== null && age !== undefined) rows.push(['fix_age', say('span.seconds', { n: age }), age > 90]);
  if (state) {
    const { gnss, outbox, link, scanners = [] } = state;
    rows.push(['duty', word('duty', state.duty), false]);
    rows.push(['receiver', [word('receiver', gnss.receiver), word('mode', gnss.mode)].join(', '), gnss.receiver !== 'open' || gnss.mode < 2]);
    if (gnss.sats !== undefined) rows.push(['sats', say('health.of', { n: gnss.sats, all: gnss.sats_in_view ?? gnss.sats }), false]);
    if (gnss.cn0_dbhz !== undefined) rows.push(['signal', `${gnss.cn0_dbhz} dB-Hz`, gnss.cn0_dbhz < 35]);
    if (gnss.error ?? gnss.warning) rows.push(['warning', gnss.error ?? gnss.warning, true]);
    rows.push(['pending', number(outbox.pending), outbox.pending > 500]);
    if (outbox.oldest_ts) rows.push(['oldest', ageOf(outbox.oldest_ts), outbox.pending > 500]);
    if (outbox.complete_until_ts) rows.push(['complete', momentOf(outbox.complete_until_ts), false]);
    rows.push(['dropped', number(outbox.dropped), outbox.dropped > 0]);
    rows.push(['size', bytes(outbox.bytes), false]);
    if (link) rows.push(['air', say('health.used', { today: bytes(link.bytes_today), month: bytes(link.bytes_month) }), link.cadence > 1]);
    for (const scanner of scanners) rows.push([`scanner ${scanner.name}`, word('scanner', scanner.state), scanner.state !== 'open']);
    if (state.manifest_rejected) rows.push(['manifest', state.manifest_rejected.errors[0]?.detail ?? '', true]);
    if (state.delay) rows.push(['delay', `${Math.round(state.delay.by_s / 60)} min${state.delay.reason ? `, ${word('delay', state.delay.reason)}` : ''}`, state.delay.by_s > 900]);
  }
  keep(list, rows, ([name]) => name, ([name, value, odd]) => {
    const [key, which] = name.split(' ');
    return element('div', { class: odd ? 'odd' : null },
      element('dt', {}, say(`health.${key}`), which ? ` ${which}` : null), element('dd', {}, value));
  });
}

export function gaps(place, found) {
  if (!found.length) {
    place.replaceChildren(element('p', { class: 'empty' }, say('gaps.none')));
    return;
  }
  place.replaceChildren(table(
    ['lane', 'after', 'before', 'numbers'].map((name) => say(`gaps.${name}`)),
    found.map((gap) => [word('lane', gap.lane), momentOf(gap.after), momentOf(gap.before),
      `${gap.from_seq}–${gap.to_seq}`])));
}

// On narrow screens each row becomes a block, and each cell shows its column header.
export function table(heads, rows) {
  return element('table', {},
    element('thead', {}, element('tr', {}, heads.map((head) => element('th', { scope: 'col' }, head)))),
    element('tbody', {}, rows.map((cells) => element('tr', {},
      cells.map((cell, n) => element('td', { 'data-head': heads[n] }, element('span', {}, cell)))))));
}
