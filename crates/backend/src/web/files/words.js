// Texts in the language of the page.

const texts = await (await fetch(document.documentElement.dataset.texts)).json();

export const language = document.documentElement.lang;

// Prefers the user's regional variant: British English uses a 24-hour clock.
export const locale = navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language;

const plural = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });

export const number = (value) => numbers.format(value);

// `{n: 3}` also selects the plural form: an exact number first, else its category.
export function say(key, values = {}) {
  let text = texts[key] ?? key;
  if (typeof text === 'object') text = text[values.n] ?? text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name] ?? '';
    return typeof value === 'number' ? number(value) : value;
  });
}

// Text of a wire value. An unknown value is shown as is, since newer vans may send more.
export const word = (family, name) =>
  `${family}.${name}` in texts ? say(`${family}.${name}`) : String(name).replaceAll('_', ' ');

export const bytes = (count) => {
  const units = ['B', 'kB', 'MB', 'GB'];
  let step = 0;
  for (; count >= 1000 && step < units.length - 1; step += 1) count /= 1000;
  return `${number(count)} ${units[step]}`;
};

// Exact distance, for dispatchers who search a place.
export const exactly = (distance) =>
  distance < 1000 ? say('unit.m', { n: distance }) : say('unit.km', { n: Math.round(distance / 100) / 10 });

export const metres = (distance) =>
  distance < 950
    ? say('unit.m', { n: Math.max(50, Math.round(distance / 50) * 50) })
    : say('unit.km', { n: distance < 9950 ? Math.round(distance / 100) / 10 : Math.round(distance / 1000) });
