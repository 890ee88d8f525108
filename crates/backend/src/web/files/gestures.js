// Pan and zoom of a map by touch, mouse, wheel and keyboard.

const STEP_PX = 60;

export function gestures(host, map) {
  const pointers = new Map();
  const at = (event) => {
    const box = host.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const two = () => {
    const [a, b] = [...pointers.values()];
    return { apart: Math.hypot(a.x - b.x, a.y - b.y), middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 } };
  };

  host.addEventListener('pointerdown', (event) => {
    if (event.target.closest('button') || event.button > 0) return;
    pointers.set(event.pointerId, at(event));
  });

  host.addEventListener('pointermove', (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    // A click is not a drag, and belongs to the clicked element.
    if (!host.hasPointerCapture(event.pointerId)) {
      if (Math.hypot(now.x - before.x, now.y - before.y) < 4) return;
      host.setPointerCapture(event.pointerId);
    }
    if (pointers.size === 1) {
      pointers.set(event.pointerId, now);
      map.pan(now.x - before.x, now.y - before.y);
    } else if (pointers.size === 2) {
      const from = two();
      pointers.set(event.pointerId, now);
      const to = two();
      map.pan(to.middle.x - from.middle.x, to.middle.y - from.middle.y);
      if (from.apart > 0 && to.apart > 0) map.zoom(Math.log2(to.apart / from.apart), to.middle);
    }
  });

  const up = (event) => pointers.delete(event.pointerId);
  host.addEventListener('pointerup', up);
  host.addEventListener('pointercancel', up);

  // Scrolling over the map scrolls the page.
  host.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && document.activeElement !== host) return;
    event.preventDefault();
    map.zoom(-event.deltaY * (event.deltaMode ? 0.1 : 0.004), at(event));
  }, { passive: false });

  host.addEventListener('dblclick', (event) => {
    if (!event.target.closest('button')) map.zoom(event.shiftKey ? -1 : 1, at(event));
  });

  const keys = {
    ArrowLeft: () => map.pan(STEP_PX, 0),
    ArrowRight: () => map.pan(-STEP_PX, 0),
    ArrowUp: () => map.pan(0, STEP_PX),
    ArrowDown: () => map.pan(0, -STEP_PX),
    '+': () => map.zoom(1),
    '=': () => map.zoom(1),
    '-': () => map.zoom(-1),
    0: () => map.all(),
  };
  host.addEventListener('keydown', (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
}
