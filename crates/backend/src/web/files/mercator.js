// Conversion between WGS 84 and Web Mercator, with the world as a square of side 1 (EPSG:3857).

const RADIUS_M = 6_371_009;
const rad = (degrees) => (degrees * Math.PI) / 180;

export const TILE = 256;

export const project = ({ lat, lon }) => {
  const sin = Math.sin(rad(Math.max(-85, Math.min(85, lat))));
  return { x: (lon + 180) / 360, y: 0.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI) };
};

export const latitude = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

// Metres per pixel at a latitude.
export const metresPerPixel = (lat, zoom) =>
  (2 * Math.PI * 6_378_137 * Math.cos(rad(lat))) / (TILE * 2 ** zoom);

export function distance(a, b) {
  const half = (from, to) => Math.sin((rad(to) - rad(from)) / 2) ** 2;
  const chord = half(a.lat, b.lat) + Math.cos(rad(a.lat)) * Math.cos(rad(b.lat)) * half(a.lon, b.lon);
  return 2 * RADIUS_M * Math.asin(Math.sqrt(chord));
}

// One of eight compass directions from `a` to `b`.
export function direction(a, b) {
  const east = (b.lon - a.lon) * Math.cos(rad((a.lat + b.lat) / 2));
  const turn = (Math.atan2(east, b.lat - a.lat) * 180) / Math.PI;
  return ['n', 'ne', 'e', 'se', 's', 'sw', 'w', 'nw'][Math.round((turn + 360) / 45) % 8];
}
