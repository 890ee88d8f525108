// Login page of the dispatcher console.

import { ask, once } from './api.js';
import { element, field, write } from './dom.js';
import { say } from './words.js';

export function login(main, enter) {
  const refused = element('p', { class: 'refused', role: 'alert', hidden: true });
  const token = element('input', {
    id: 'token', type: 'password', autocomplete: 'current-password', maxlength: 512, required: true, spellcheck: 'false',
  });
  const form = element('form', { class: 'sheet login', novalidate: true },
    element('h1', {}, say('login.title')),
    element('p', { class: 'hint' }, say('login.lead')),
    refused,
    // Password managers need a user name.
    element('input', { type: 'text', autocomplete: 'username', value: 'desk', hidden: true }),
    field(say('login.token'), token),
    element('button', { class: 'primary' }, say('login.enter')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!token.value) {
      write(refused, say('login.missing'));
      token.focus();
      return;
    }
    once(form, async () => {
      try {
        await ask('POST', '/api/v1/session', { token: token.value });
        token.value = '';
        enter();
      } catch (refusal) {
        write(refused, [401, 403].includes(refusal.status) ? say('login.wrong') : refusal.text);
        token.setAttribute('aria-invalid', 'true');
        token.focus();
      }
    });
  });
  main.replaceChildren(form);
  token.focus();
}
