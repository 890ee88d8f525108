// Subscriptions to notifications about the parcel.

import { ask, once } from './api.js';
import { element, field, keep, write } from './dom.js';
import { language, say } from './words.js';

const OVER = ['delivered', 'returned'];
let list = null;
let form = null;

// `channels` are the notification channels of this instance.
export function alerts(section, view, path, show, channels = ['email', 'webhook']) {
  const over = OVER.includes(view.status) || channels.length === 0;
  section.hidden = over && view.alerts.length === 0;
  if (!list) {
    list = element('ul', { class: 'told' });
    section.append(element('p', { class: 'hint' }, say('alerts.lead')), list);
  }
  keep(list, view.alerts, (alert) => alert.id, (alert) => told(alert, view, path, show));
  list.hidden = view.alerts.length === 0;
  if (over) {
    form?.remove();
    form = null;
  } else if (!form) {
    form = build(path, show, channels);
    section.append(form);
  }
}

const current = async (path, show) => show(await ask('GET', path));

function told(alert, view, path, show) {
  const end = async (event) => {
    const row = event.target.closest('li');
    await once(row, async () => {
      await ask('DELETE', `${path}/alerts/${encodeURIComponent(alert.id)}`).catch(() => null);
      await current(path, show).catch(() => null);
    });
  };
  return element('li', {},
    element('span', {}, element('bdi', {}, alert.address),
      alert.confirmed ? null : element('span', { class: 'hint' }, ` ${say('alerts.unconfirmed')}`)),
    element('button', { type: 'button', class: 'plain', onclick: end },
      say('alerts.end'), element('span', { class: 'unseen' }, ` ${alert.address}`)));
}

function build(path, show, channels) {
  const refused = element('p', { class: 'refused', role: 'alert', hidden: true });
  const secret = element('p', { class: 'secret notice', role: 'status', hidden: true });
  const email = element('input', { id: 'alert-email', type: 'email', autocomplete: 'email', maxlength: 254 });
  const hook = element('input', { id: 'alert-webhook', type: 'url', autocomplete: 'off', maxlength: 500, placeholder: 'https://' });
  const byHook = field(say('alerts.webhook'), hook, say('alerts.webhook_hint'));
  const both = channels.includes('email') && channels.includes('webhook');
  const built = element('form', { novalidate: true },
    channels.includes('email') ? field(say('alerts.email'), email, say('alerts.email_hint')) : byHook,
    both ? element('details', {}, element('summary', {}, say('alerts.webhook_more')), byHook) : null,
    refused,
    element('button', {}, say('alerts.add')),
    secret);
  built.addEventListener('submit', (event) => {
    event.preventDefault();
    const input = channels.includes('email') && (email.value.trim() || !hook.value.trim()) ? email : hook;
    const address = input.value.trim();
    if (!address || !input.checkValidity()) {
      write(refused, say(input === email ? 'alerts.email_missing' : 'alerts.webhook_missing'));
      input.setAttribute('aria-invalid', 'true');
      input.focus();
      return;
    }
    once(built, async () => {
      try {
        const channel = input === email ? 'email' : 'webhook';
        const made = await ask('POST', `${path}/alerts`, { channel, address, language });
        built.reset();
        // The server never shows it again.
        secret.replaceChildren(...(made.secret ? [say('alerts.secret'), ' ', element('code', {}, made.secret)] : []));
        secret.hidden = !made.secret;
        write(refused, '');
        input.removeAttribute('aria-invalid');
        await current(path, show);
      } catch (refusal) {
        const invalid = refusal.status === 400 ? say(input === email ? 'alerts.email_missing' : 'alerts.webhook_missing') : '';
        write(refused, invalid || (refusal.status === 409 ? say('alerts.many') : refusal.text));
      }
    });
  });
  return built;
}
