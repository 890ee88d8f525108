// Creates elements from names, attributes and children. Text is never parsed as markup.

const SVG = 'http://www.w3.org/2000/svg';

export const by = (id) => document.getElementById(id);

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const element = (name, attributes, ...children) =>
  build(document.createElement(name), attributes, children);

export const svg = (name, attributes, ...children) =>
  build(document.createElementNS(SVG, name), attributes, children);

// Leaves unchanged text alone, since screen readers would announce it again.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = text === '';
}

// Input with label and hint.
export function field(label, input, hint) {
  const parts = [element('label', { for: input.id }, label), input];
  if (hint) {
    input.setAttribute('aria-describedby', `${input.id}-hint`);
    parts.push(element('p', { class: 'hint', id: `${input.id}-hint` }, hint));
  }
  return element('div', { class: 'field' }, ...parts);
}

// Reconciles children by key and content. Unchanged ones stay in place and keep focus and
// selection.
export function keep(parent, rows, key, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = null;
  for (const row of rows) {
    const name = String(key(row));
    const content = JSON.stringify(row);
    let child = known.get(name);
    known.delete(name);
    if (!child || child.dataset.content !== content) {
      const fresh = make(row);
      fresh.dataset.key = name;
      fresh.dataset.content = content;
      if (child) {
        const focused = child.contains(document.activeElement);
        child.replaceWith(fresh);
        if (focused) (fresh.matches('a,button') ? fresh : fresh.querySelector('a,button'))?.focus();
      }
      child = fresh;
    }
    const next = place ? place.nextSibling : parent.firstChild;
    if (next !== child) parent.insertBefore(child, next);
    place = child;
  }
  for (const gone of known.values()) gone.remove();
}
