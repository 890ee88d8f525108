// JSON requests; an error becomes a `Refusal` with a text for the user.

import { say } from './words.js';

export class Refusal extends Error {
  constructor(status, detail, again, code) {
    super(detail || `${status}`);
    this.status = status;
    this.detail = detail;
    this.again = again;
    this.code = code;
  }

  // Explanation and remedy for the user.
  get text() {
    if (this.status === 0) return say('refused.offline');
    if (this.status === 429) return say('refused.often', { n: Math.max(1, Math.ceil((this.again ?? 60) / 60)) });
    if (this.status >= 500) return say('refused.broken');
    return this.detail || say('refused.other');
  }
}

export async function ask(method, path, body) {
  const headers = { accept: 'application/json', 'x-waypost': '1' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
  } catch {
    throw new Refusal(0, '');
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return answer;
  throw new Refusal(response.status, answer?.detail, Number(response.headers.get('retry-after')) || undefined, answer?.code);
}

// Prevents a second submission while the first is pending.
export async function once(form, work) {
  if (form.getAttribute('aria-busy') === 'true') return;
  form.setAttribute('aria-busy', 'true');
  try {
    await work();
  } finally {
    form.removeAttribute('aria-busy');
  }
}
