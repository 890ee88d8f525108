// Formats RFC 3339 times in UTC as local time.

import { locale, say } from './words.js';

const format = (options) => new Intl.DateTimeFormat(locale, options);
const clock = format({ hour: '2-digit', minute: '2-digit' });
const seconds = format({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = format({ weekday: 'long', day: 'numeric', month: 'long' });
const shortDay = format({ weekday: 'short', day: 'numeric', month: 'short' });
const date = format({ day: 'numeric', month: 'long', year: 'numeric' });

// Offset of the server's clock: the client's may be wrong, and a simulation runs on its own time.
let ahead = 0;

export function learn(now) {
  ahead = Date.parse(now) - Date.now();
}

// Derives the server's time from a van's position and its age.
export function learnFrom({ position, position_age_s: age }) {
  if (position && age !== null && age !== undefined) ahead = Date.parse(position.ts) + age * 1000 - Date.now();
}

export const now = () => new Date(Date.now() + ahead);

export const zone = () =>
  new Intl.DateTimeFormat(locale, { timeZoneName: 'long' })
    .formatToParts(now())
    .find((part) => part.type === 'timeZoneName').value;

const sameDay = (a, b) => a.toDateString() === b.toDateString();

export function dayOf(time) {
  const at = new Date(time);
  const near = (days) => sameDay(at, new Date(now().getTime() + days * 86_400_000));
  if (near(0)) return say('time.today');
  if (near(-1)) return say('time.yesterday');
  if (near(1)) return say('time.tomorrow');
  return day.format(at);
}

export const clockOf = (time) => clock.format(new Date(time));
export const secondsOf = (time) => seconds.format(new Date(time));
export const dateOf = (time) => date.format(new Date(time));

// Short form: only the time of day for today.
export function momentOf(time) {
  const at = new Date(time);
  return sameDay(at, now()) ? clock.format(at) : `${shortDay.format(at)}, ${clock.format(at)}`;
}

export function windowOf({ from, until }) {
  const hours = clock.formatRange(new Date(from), new Date(until));
  return sameDay(new Date(from), now()) ? hours : `${dayOf(from)}, ${hours}`;
}

export function ageOf(time) {
  const age = Math.max(0, Math.round((now() - Date.parse(time)) / 1000));
  if (age < 60) return say('age.seconds', { n: age < 5 ? 0 : age });
  if (age < 3600) return say('age.minutes', { n: Math.round(age / 60) });
  if (age < 172_800) return say('age.hours', { n: Math.round(age / 3600) });
  return say('age.days', { n: Math.round(age / 86_400) });
}

export function duration(span) {
  const minutes = Math.max(1, Math.round(span / 60));
  return minutes < 60
    ? say('span.minutes', { n: minutes })
    : say('span.hours', { h: String(Math.floor(minutes / 60)), m: String(minutes % 60).padStart(2, '0') });
}
