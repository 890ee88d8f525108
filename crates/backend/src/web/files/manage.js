// Delivery preferences of the recipient, and their state.

import { ask, once } from './api.js';
import { element, field, write } from './dom.js';
import { dayOf, now } from './time.js';
import { say, word } from './words.js';

const WAYS = ['safe_place', 'neighbour', 'signature', 'other_day'];
let form = null;

export function manage(section, view, path, show) {
  const { open, closed_because: closed, asked, answer } = view.manage;
  section.hidden = !open && !asked && !closed && !answer;
  let said = section.querySelector('.asked');
  if (!said) {
    said = element('p', { class: 'asked', role: 'status' });
    section.append(said, element('p', { class: 'closed hint' }));
  }
  const state = answer ? say(`answer.${answer}`) : '';
  const withdrawn = !asked && answer ? say(`withdrawn.${answer === 'accepted' || answer === 'rejected' ? answer : 'waiting'}`) : '';
  write(said, asked ? [say('manage.asked', { wish: inWords(asked) }), state].join(' ') : withdrawn);
  said.dataset.answer = answer ?? '';
  write(section.querySelector('.closed'), open ? '' : word('closed', closed ?? 'too_late'));
  if (!open) {
    form?.remove();
    form = null;
  } else if (!form) {
    form = build(path, show);
    section.append(form);
  }
  withdrawal(section, open && asked && !asked.other_day, path, show);
}

// Button that takes the preferences back.
function withdrawal(section, possible, path, show) {
  let row = section.querySelector('.withdraw');
  if (!possible) {
    row?.remove();
    return;
  }
  if (row) return;
  const refused = element('p', { class: 'refused', role: 'alert', hidden: true });
  row = element('div', { class: 'withdraw' }, refused);
  const back = () => once(row, async () => {
    try {
      show(await ask('PUT', `${path}/wish`, {}));
    } catch (refusal) {
      write(refused, conflict(refusal));
    }
  });
  row.append(element('button', { type: 'button', onclick: back }, say('manage.withdraw')));
  section.querySelector('.closed').before(row);
}

// A refusal because of the state of the delivery has a code, such as `delivered`.
const conflict = (refusal) => (refusal.status === 409 ? word('closed', refusal.code ?? 'too_late') : refusal.text);

// Local calendar day, not UTC.
function dayAhead(days) {
  const day = now();
  day.setDate(day.getDate() + days);
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
}

function inWords(wish) {
  if (wish.other_day) return say('wish.other_day', { day: dayOf(`${wish.other_day}T12:00:00`) });
  if (wish.neighbour) return say('wish.neighbour', { name: wish.neighbour });
  if (wish.safe_place) return say('wish.safe_place', { place: wish.safe_place });
  if (wish.signature_required) return say('wish.signature');
  if (wish.authority_to_leave) return say('wish.leave');
  return say('wish.usual');
}

function build(path, show) {
  const detail = {
    safe_place: () => field(say('manage.place'),
      element('input', { id: 'wish-safe_place', type: 'text', maxlength: 100, autocomplete: 'off' }), say('manage.place_hint')),
    neighbour: () => field(say('manage.name'),
      element('input', { id: 'wish-neighbour', type: 'text', maxlength: 100, autocomplete: 'off' }), say('manage.name_hint')),
    other_day: () => field(say('manage.day'),
      element('input', { id: 'wish-other_day', type: 'date', min: dayAhead(1), max: dayAhead(14) })),
  };
  const refused = element('p', { class: 'refused', role: 'alert', hidden: true });
  const place = element('div', { class: 'detail' });
  const button = element('button', { class: 'primary', hidden: true }, say('manage.send'));
  const choose = (way) => {
    place.replaceChildren(...(detail[way] ? [detail[way]()] : []));
    button.hidden = false;
    write(refused, '');
  };
  const choices = element('fieldset', {},
    element('legend', {}, say('manage.question')),
    WAYS.map((way) => element('label', { class: 'choice' },
      element('input', { type: 'radio', name: 'way', value: way, onchange: () => choose(way) }),
      element('span', {}, say(`manage.${way}`)))));
  const built = element('form', { novalidate: true }, choices, place, refused, button);
  built.addEventListener('submit', (event) => {
    event.preventDefault();
    const way = new FormData(built).get('way');
    const input = place.querySelector('input');
    const text = input?.value.trim() ?? '';
    if (input && !text) {
      write(refused, say(`manage.${way}_missing`));
      input.setAttribute('aria-invalid', 'true');
      input.focus();
      return;
    }
    once(built, async () => {
      try {
        show(await ask('PUT', `${path}/wish`, wish(way, text)));
        built.reset();
        place.replaceChildren();
        button.hidden = true;
        write(refused, '');
      } catch (refusal) {
        write(refused, conflict(refusal));
      }
    });
  });
  return built;
}

function wish(way, text) {
  if (way === 'signature') return { signature_required: true, authority_to_leave: false };
  if (way === 'safe_place') return { authority_to_leave: true, safe_place: text };
  return { [way]: text };
}
