// A small map of places and lines, optionally over the operator's tiles.
//
// It is hidden from screen readers; the caller repeats its content as text. Places move smoothly
// unless the user prefers reduced motion.

import { element, svg } from './dom.js';
import { gestures } from './gestures.js';
import { TILE, latitude, metresPerPixel, project } from './mercator.js';
import { language, say } from './words.js';

const LEAST_ZOOM = 2;
const MOST_ZOOM = 18;
const BUTTONS_PX = 56;
// Maximum loss of zoom levels that places marked `aside` may cause.
const ASIDE = 0.75;
// Estimated width of a character and height of a line of a label, in pixels.
const NAME_PX = { wide: 8, high: 16 };
// The map zooms in only if that gains at least this number of levels.
const CLOSER = 1.5;
// Retry delay of a failed tile.
const TILE_AGAIN_MS = 30_000;
// Tiles of the previous level stay until the new ones have loaded, up to this number of tiles.
const MOST_TILES = 160;
const still = matchMedia('(prefers-reduced-motion: reduce)');
const GLYPHS = {
  van: 'M-7.5-4.5h9v9h-9zM1.5-2H5l2.5 3v3.5h-6zM-6 4.5a2 2 0 1 0 4 0 2 2 0 1 0-4 0M2.5 4.5a2 2 0 1 0 4 0 2 2 0 1 0-4 0',
  home: 'M0-7l7 6h-2v7H1.5V1.5h-3V6H-5V-1h-2z',
  station: 'M-7-3l7-4 7 4v9h-3v-6h-8v6h-3z',
};

export class PlaceMap {
  #host;
  #tiles;
  #layers = {};
  #places = new Map();
  #lines = new Map();
  #centre = { x: 0.5, y: 0.35 };
  #zoom = 3;
  #size = { width: 0, height: 0 };
  #drawn = 0;
  #byHand = false;
  #whole = false;
  #unsettled = false;
  #pieces = new Map();

  // `tiles` is `{ tiles, tiles_by }` from the API; `touch` is a value of the CSS property
  // `touch-action`.
  constructor(parent, { tiles, label, touch = 'pan-y' }) {
    this.#tiles = tiles?.tiles ?? null;
    const names = ['tiles', 'grid', 'lines', 'places'];
    for (const name of names) this.#layers[name] = svg('g', { class: `map-${name}` });
    this.#host = element('div', {
      class: 'map',
      tabindex: '0',
      role: 'group',
      'aria-label': `${label}. ${say('map.keys')}`,
      dir: 'ltr',
    });
    this.#host.style.touchAction = touch;
    const picture = svg('svg', { 'aria-hidden': 'true', focusable: 'false' });
    picture.append(...names.map((name) => this.#layers[name]));
    const button = (name, text, act) =>
      element('button', { type: 'button', class: 'map-button', 'aria-label': say(name), title: say(name), onclick: act }, text);
    const buttons = element('div', { class: 'map-buttons' },
      button('map.closer', '+', () => this.zoom(1)),
      button('map.farther', '−', () => this.zoom(-1)),
      button('map.all', '⤢', () => this.all()));
    this.scale = element('div', { class: 'map-scale', 'aria-hidden': 'true' });
    this.#host.append(picture, this.scale, buttons);
    if (this.#tiles && tiles.tiles_by) this.#host.append(element('p', { class: 'map-by' }, tiles.tiles_by));
    parent.replaceChildren(this.#host);
    gestures(this.#host, this);
    new ResizeObserver(() => this.#resize()).observe(this.#host);
    this.#resize();
  }

  // Adds or updates the place `id` at `spot`; `over` is the duration of the movement in ms. Places
  // marked `aside` are framed only while the others stay large enough. A place with a higher `rank`
  // is drawn on top and keeps its label in a conflict.
  place(id, spot, { kind, label = '', shape = '', over = 0, act = null, aside = false, rank = 0 }) {
    const to = project(spot);
    let place = this.#places.get(id);
    if (!place) {
      place = { node: svg('g', { 'data-place': id }), at: to, spot };
      if (act) place.node.addEventListener('click', act);
      this.#places.set(id, place);
    }
    if (place.rank !== rank) {
      place.rank = rank;
      this.#layers.places.insertBefore(place.node, this.#lowest(rank));
    }
    place.label = label;
    place.radius = GLYPHS[kind] ? 15 : kind === 'stop' ? 10 : 6;
    const look = `${kind} ${shape} ${label}`;
    if (place.look !== look) place.node.replaceChildren(...glyph(kind, label));
    place.node.setAttribute('class', `place place-${kind} ${shape}${act ? ' place-acts' : ''}${place.mute ? ' place-mute' : ''}`);
    place.look = look;
    place.number = kind === 'stop';
    place.aside = aside;
    const moves = over > 0 && !still.matches && !document.hidden && place.spot !== spot;
    place.from = moves ? place.at : to;
    place.to = to;
    place.spot = spot;
    place.begun = performance.now();
    place.over = moves ? over : 0;
    if (!moves) place.at = to;
    this.#settle();
  }

  remove(id) {
    this.#places.get(id)?.node.remove();
    this.#places.delete(id);
  }

  // Removes the places whose ids start with `family` and are not among `names`.
  keepOnly(family, names) {
    const kept = new Set(names);
    for (const id of [...this.#places.keys()]) if (id.startsWith(family) && !kept.has(id)) this.remove(id);
  }

  // Returns the first node above those of a rank.
  #lowest(rank) {
    const ranks = new Map([...this.#places.values()].map((place) => [place.node, place.rank]));
    return [...this.#layers.places.children].find((node) => ranks.get(node) > rank) ?? null;
  }

  // Adds or replaces the line `id`; removes it if it has fewer than two points.
  line(id, spots, kind, { aside = false } = {}) {
    this.#lines.get(id)?.node.remove();
    this.#lines.delete(id);
    if (spots.length > 1) {
      const node = svg('path', { class: `line line-${kind}` });
      this.#layers.lines.append(node);
      this.#lines.set(id, { node, aside, points: spots.map(project) });
    }
    this.#settle();
  }

  // Returns the currently drawn position of a place in degrees.
  seen(id) {
    const at = this.#places.get(id)?.at;
    return at ? { lat: latitude(at.y), lon: at.x * 360 - 180 } : null;
  }

  // Frames everything, or the places whose ids start with `family`.
  fit(anew = false, family = '') {
    if (anew) this.#byHand = false;
    const best = this.#best(family);
    if (!best) return;
    this.#zoom = best.zoom;
    this.#centre = { x: best.x + BUTTONS_PX / 2 / (TILE * 2 ** best.zoom), y: best.y };
    this.#redraw();
  }

  #best(family = '') {
    const wanted = [...this.#places].filter(([id]) => id.startsWith(family)).map(([, { to, aside }]) => ({ points: [to], aside }));
    if (!family) wanted.push(...this.#lines.values());
    const points = (parts) => parts.flatMap((part) => part.points);
    if (!wanted.length || !this.#size.width) return null;
    const all = this.#frame(points(wanted));
    const near = points(wanted.filter((part) => !part.aside));
    const main = near.length ? this.#frame(near) : all;
    return this.#whole || all.zoom > main.zoom - ASIDE ? all : main;
  }

  // The user asked for everything: nothing is left out until the map is moved by hand.
  all() {
    this.#whole = true;
    this.fit(true);
  }

  #frame(points) {
    const [left, right] = extent(points.map((point) => point.x));
    const [top, bottom] = extent(points.map((point) => point.y));
    const room = (side) => Math.max(64, side) / TILE;
    const { width, height } = this.#size;
    const across = Math.max((right - left) / room(width - 96 - BUTTONS_PX), (bottom - top) / room(height - Math.min(144, height * 0.4)), 1e-9);
    const zoom = Math.max(LEAST_ZOOM, Math.min(15.5, Math.log2(1 / across)));
    return { x: (left + right) / 2, y: (top + bottom) / 2, zoom };
  }

  // Moves by pixels.
  pan(dx, dy) {
    const scale = TILE * 2 ** this.#zoom;
    this.#byHand = true;
    this.#whole = false;
    this.#centre.x -= dx / scale;
    this.#centre.y = Math.max(0, Math.min(1, this.#centre.y - dy / scale));
    this.#redraw();
  }

  // Zooms by `steps` around a pixel of the map, or around its centre.
  zoom(steps, around) {
    const { width, height } = this.#size;
    const dx = (around?.x ?? width / 2) - width / 2;
    const dy = (around?.y ?? height / 2) - height / 2;
    const before = TILE * 2 ** this.#zoom;
    this.#zoom = Math.max(LEAST_ZOOM, Math.min(MOST_ZOOM, this.#zoom + steps));
    const after = TILE * 2 ** this.#zoom;
    this.#byHand = true;
    this.#whole = false;
    this.#centre.x += dx / before - dx / after;
    this.#centre.y += dy / before - dy / after;
    this.#redraw();
  }

  // Schedules an adjustment of the frame, unless the user has moved the map. The frame follows when
  // a place leaves it, or when all places fill only a small part of it.
  #settle() {
    this.#unsettled = true;
    this.#redraw();
  }

  // Runs once per animation frame, regardless of the number of updates.
  #follow() {
    this.#unsettled = false;
    const outside = () => [...this.#places.values()].some((place) => !place.aside && !this.#within(place.to));
    const small = () => this.#best()?.zoom > this.#zoom + CLOSER;
    if (!this.#byHand && (outside() || small())) this.fit();
  }

  #within(point) {
    const { x, y } = this.#pixel(point);
    const { width, height } = this.#size;
    return x > 32 && y > 32 && x < width - 32 && y < height - 32;
  }

  #pixel(point) {
    const scale = TILE * 2 ** this.#zoom;
    return {
      x: (point.x - this.#centre.x) * scale + this.#size.width / 2,
      y: (point.y - this.#centre.y) * scale + this.#size.height / 2,
    };
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#host;
    if (width === this.#size.width && height === this.#size.height) return;
    this.#size = { width, height };
    if (this.#byHand) this.#redraw();
    else this.fit();
  }

  #redraw() {
    if (!this.#drawn) this.#drawn = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawn = 0;
    if (!this.#size.width) return;
    if (this.#unsettled) this.#follow();
    const now = performance.now();
    const frame = `${this.#centre.x} ${this.#centre.y} ${this.#zoom} ${this.#size.width} ${this.#size.height}`;
    for (const line of this.#lines.values()) {
      // Redraws a line only if the frame has changed.
      if (line.frame === frame) continue;
      line.frame = frame;
      line.node.setAttribute('d', line.points.map((point, n) => {
        const { x, y } = this.#pixel(point);
        return `${n ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
      }).join(''));
    }
    let moving = false;
    for (const place of this.#places.values()) {
      const done = place.over ? Math.min(1, (now - place.begun) / place.over) : 1;
      place.at = {
        x: place.from.x + (place.to.x - place.from.x) * done,
        y: place.from.y + (place.to.y - place.from.y) * done,
      };
      moving ||= done < 1;
      const { x, y } = this.#pixel(place.at);
      place.node.setAttribute('transform', `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
      place.x = x;
      place.y = y;
    }
    this.#name();
    this.#ground();
    if (moving) this.#redraw();
  }

  // Hides labels that would overlap another place or label.
  #name() {
    const places = [...this.#places.values()];
    const named = places.filter((place) => place.label && !place.number).sort((a, b) => b.rank - a.rank);
    const taken = [];
    for (const place of named) {
      const half = (place.label.length * NAME_PX.wide) / 2;
      const top = place.y + place.radius + 2;
      const box = { left: place.x - half, right: place.x + half, top, bottom: top + NAME_PX.high };
      const covers = places.some((other) => other !== place
        && other.x + other.radius > box.left && other.x - other.radius < box.right
        && other.y + other.radius > box.top && other.y - other.radius < box.bottom)
        || taken.some((other) => other.right > box.left && other.left < box.right && other.bottom > box.top && other.top < box.bottom);
      if (!covers) taken.push(box);
      if (place.mute !== covers) place.node.classList.toggle('place-mute', (place.mute = covers));
    }
  }

  // Draws the scale and a grid of round metre values, and the tiles above it.
  #ground() {
    const perPixel = metresPerPixel(latitude(this.#centre.y), this.#zoom);
    const wanted = perPixel * 90;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const metres = power * [1, 2, 5, 10].find((step) => step * power >= wanted);
    const step = metres / perPixel;
    const text = metres < 1000 ? `${metres} m` : `${metres / 1000} km`;
    if (this.scale.textContent !== text) this.scale.textContent = text;
    this.scale.style.width = `${step}px`;
    const { width, height } = this.#size;
    const origin = this.#pixel({ x: 0, y: 0 });
    let path = '';
    for (let x = ((origin.x % step) + step) % step; x < width; x += step) path += `M${x.toFixed(1)} 0V${height}`;
    for (let y = ((origin.y % step) + step) % step; y < height; y += step) path += `M0 ${y.toFixed(1)}H${width}`;
    if (!this.#layers.grid.firstChild) this.#layers.grid.append(svg('path', {}));
    this.#layers.grid.firstChild.setAttribute('d', path);
    if (this.#tiles) this.#lay();
  }

  #lay() {
    const level = Math.max(0, Math.min(19, Math.round(this.#zoom)));
    const count = 2 ** level;
    const corner = this.#pixel({ x: 0, y: 0 });
    const side = TILE * 2 ** (this.#zoom - level);
    const { width, height } = this.#size;
    const wanted = new Set();
    for (let column = Math.floor(-corner.x / side); corner.x + column * side < width; column += 1) {
      for (let row = Math.floor(-corner.y / side); corner.y + row * side < height; row += 1) {
        if (row < 0 || row >= count) continue;
        const name = `${level}/${column}/${row}`;
        wanted.add(name);
        if (!this.#pieces.has(name)) this.#ask(name, { level, column, row });
      }
    }
    const states = [...wanted].map((name) => this.#pieces.get(name).state);
    const complete = !states.includes('asked') || this.#pieces.size > MOST_TILES;
    for (const [name, { node, level: its, column, row }] of this.#pieces) {
      if (complete && !wanted.has(name)) {
        node.remove();
        this.#pieces.delete(name);
        continue;
      }
      const length = TILE * 2 ** (this.#zoom - its);
      for (const [attribute, value] of [['x', corner.x + column * length], ['y', corner.y + row * length]]) {
        node.setAttribute(attribute, value.toFixed(1));
      }
      // Overlaps adjacent tiles slightly, to hide seams.
      for (const attribute of ['width', 'height']) node.setAttribute(attribute, (length + 0.5).toFixed(1));
    }
    // The grid is hidden as soon as one tile has loaded.
    this.#layers.grid.toggleAttribute('hidden', states.includes('there'));
  }

  #ask(name, { level, column, row }) {
    const count = 2 ** level;
    const parts = { z: level, x: ((column % count) + count) % count, y: row };
    const href = this.#tiles.replace(/\{([zxy])\}/g, (_, part) => parts[part]);
    // Hidden until loaded: browsers show an icon for a missing image.
    const node = svg('image', { href, visibility: 'hidden' });
    const piece = { node, level, column, row, state: 'asked' };
    node.addEventListener('load', () => {
      piece.state = 'there';
      node.removeAttribute('visibility');
      this.#redraw();
    });
    node.addEventListener('error', () => {
      piece.state = 'missing';
      setTimeout(() => {
        if (!node.isConnected) return;
        node.remove();
        this.#pieces.delete(name);
        this.#redraw();
      }, TILE_AGAIN_MS);
      this.#redraw();
    });
    this.#pieces.set(name, piece);
    this.#layers.tiles.append(node);
  }
}

const extent = (values) =>
  values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);

function glyph(kind, label) {
  const parts = [];
  if (GLYPHS[kind]) parts.push(svg('circle', { r: 15 }), svg('path', { d: GLYPHS[kind] }));
  else parts.push(svg('circle', { r: kind === 'stop' ? 10 : 6 }));
  if (kind === 'stop') parts.push(svg('text', { class: 'place-number', y: 4 }, label));
  else if (label) parts.push(svg('text', { class: 'place-label', y: GLYPHS[kind] ? 30 : 20, lang: language }, label));
  return parts;
}
