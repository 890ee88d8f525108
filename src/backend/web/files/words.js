// Keys → texts in the page's language.

const texts = await (await fetch(document.documentElement.dataset.texts)).json();

export const language = document.documentElement.lang;

// Of a reader of British English clocks have 24 hours.
export const locale = navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language;

const plural = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });

export const number = (value) => numbers.format(value);

// `{n: 3}` also chooses the plural form: one for just this number, else its category.
export function say(key, values = {}) {
  let text = texts[key] ?? key;
  if (typeof text === 'object') text = text[values.n] ?? text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name] ?? '';
    return typeof value === 'number' ? number(value) : value;
  });
}

// A word of the contract: an unknown one is shown as it is, since newer vans say more.
export const word = (family, name) =>
  `${family}.${name}` in texts ? say(`${family}.${name}`) : String(name).replaceAll('_', ' ');

export const bytes = (count) => {
  const units = ['B', 'kB', 'MB', 'GB'];
  let step = 0;
  for (; count >= 1000 && step < units.length - 1; step += 1) count /= 1000;
  return `${number(count)} ${units[step]}`;
};

// For who must find a place, and not only know that it is near.
export const exactly = (distance) =>
  distance < 1000 ? say('unit.m', { n: distance }) : say('unit.km', { n: Math.round(distance / 100) / 10 });

export const metres = (distance) =>
  distance < 950
    ? say('unit.m', { n: Math.max(50, Math.round(distance / 50) * 50) })
    : say('unit.km', { n: distance < 9950 ? Math.round(distance / 100) / 10 : Math.round(distance / 1000) });
