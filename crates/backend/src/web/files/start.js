// Looks up a parcel by number and postcode without leaving the page on an error.
//
// Without this script the form is posted, and the server responds with a page.

import { ask, once } from './api.js';
import { by, write } from './dom.js';
import { say } from './words.js';

const form = by('find');
const refused = by('refused');

function complain(text, input) {
  write(refused, text);
  for (const each of form.querySelectorAll('input')) each.toggleAttribute('aria-invalid', false);
  if (input) {
    input.setAttribute('aria-invalid', 'true');
    input.focus();
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const [number, postcode] = [by('number'), by('postcode')];
  const empty = [number, postcode].find((input) => !input.value.trim());
  if (empty) {
    complain(say(`start.${empty.id}_missing`), empty);
    return;
  }
  once(form, async () => {
    try {
      const { token } = await ask('POST', '/api/v1/track', { number: number.value.trim(), postcode: postcode.value.trim() });
      location.assign(`/t/${encodeURIComponent(token)}${location.search}`);
    } catch (refusal) {
      complain(refusal.status >= 400 && refusal.status < 429 ? say('start.unknown') : refusal.text, number);
    }
  });
});

write(refused, refused.textContent);
