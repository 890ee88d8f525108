#!/usr/bin/env python3
"""Measures the latency of a position from a van's PUBLISH to a painted frame of the recipient's page and of dispatch.

    benches/backend/pixel.py [--profile dev|ci|release] [--positions 240] [--every 1.0]

A real mosquitto, a real waypost-backend on SQLite, Chromium with both pages open, each in a window of its own, and one
van under way whose positions (QoS 0) are 0.001 degrees apart, the smallest step that a recipient's page shows. The pages
request reduced motion, so that a marker does not glide. A position counts as shown once the frame with the marker at its
place has been painted.

Three floors in the same run: the same messages at another subscriber of the broker, the same messages at a client of the
API's stream, and one frame of the browser. All times are by the clock of this host, from just before the line is written
to mosquitto_pub; pages read it in whole milliseconds. Needs mosquitto and its clients, chromium and chromedriver. No
root.
"""
import argparse, contextlib, json, os, random, shutil, subprocess, sys, time, urllib.request

import rig

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument('--profile', default='ci')
arguments.add_argument('--positions', type=int, default=240)
arguments.add_argument('--every', type=float, default=1.0, help='seconds between positions, half of it up to one and a half times')
options = arguments.parse_args()
VAN, ROUTE, PARCEL = 'VAN-042', 'R-1', '395212340000000014'
STATION = {'lat': 48.1, 'lon': 11.5}
HOME = {'lat': 48.16, 'lon': 11.58}


class Browser:
    """Chromium, controlled with the WebDriver protocol (W3C) over plain HTTP."""

    def __init__(self, driver, folder):
        arguments = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
                     '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--force-prefers-reduced-motion',
                     '--window-size=1280,900', f'--user-data-dir={folder}']
        self.url = f'{driver}/session'
        wanted = {'goog:chromeOptions': {'args': arguments, 'binary': shutil.which('chromium')}}
        self.url += '/' + self.post('', {'capabilities': {'alwaysMatch': wanted}})['sessionId']

    def post(self, path, body, method='POST'):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())['value']

    def run(self, body):
        return self.post('/execute/sync', {'script': body, 'args': []})

    def visit(self, url):
        self.post('/url', {'url': url})

    def until(self, expression):
        rig.wait_for(lambda: self.run(f'return Boolean({expression})'), expression)


@contextlib.contextmanager
def browser(path, name):
    port = rig.free_port()
    with rig.running(['chromedriver', f'--port={port}'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        rig.wait_for(lambda: rig.connects(port), 'chromedriver')
        its = Browser(f'http://127.0.0.1:{port}', path / name)
        try:
            yield its
        finally:
            its.post('', {}, 'DELETE')


# A task after the frame in which the marker was moved; the frame is painted by then.
WATCH = '''
    window.seen = []; window.frames = [];
    const painted = new MessageChannel();
    painted.port1.onmessage = () => seen.push(Date.now());
    new MutationObserver((changes) => {
        if (changes.some(({ target }) => target.matches('.place-van'))) painted.port2.postMessage(0);
    }).observe(document.querySelector('.map'), { attributes: true, attributeFilter: ['transform'], subtree: true });
    let last = performance.now();
    requestAnimationFrame(function frame(now) {
        frames.push(now - last);
        last = now;
        requestAnimationFrame(frame);
    });'''


def route():
    """The route to put: one parcel behind two stops of other recipients."""
    def stop(seq, place, parcel):
        return {'seq': seq, 'id': f'stop-{seq}', 'radius_m': 60, **place, 'parcels': [{'id': parcel, 'recipient': {'postcode': '80331'}}]}

    stops = [stop(1, {'lat': 48.2, 'lon': 11.7}, '395212340000000021'), stop(2, {'lat': 48.21, 'lon': 11.7}, '395212340000000038'),
             stop(3, HOME, PARCEL)]
    station = {'id': 'https://id.gs1.org/414/9521234000013', 'radius_m': 150, **STATION}
    return {'van': VAN, 'manifest': {'v': 1, 'route': ROUTE, 'rev': 1, 'station': station, 'valid_from': rig.utc(-3600),
                                     'valid_until': rig.utc(8 * 3600), 'stops': stops}}


def departed():
    """The departure event, with the members that the backend requires."""
    at, uuid = rig.utc(-60), 'urn:uuid:3f2a9c51-7b0e-5d44-9e1f-6ac8205b73e4'
    epcs = [f'https://id.gs1.org/00/{parcel["number"]}' for stop in route()['manifest']['stops'] for parcel in stop['parcels']]
    data = {'@context': ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld', {'waypost': 'https://w3id.org/waypost/v1/'}],
            'type': 'ObjectEvent', 'eventID': uuid, 'eventTime': at, 'eventTimeZoneOffset': '+00:00', 'action': 'OBSERVE', 'epcList': epcs,
            'bizStep': 'departing', 'disposition': 'in_transit', 'waypost:seq': 1}
    return {'specversion': '1.0', 'id': uuid, 'source': 'https://id.example.com/fleet/obj/VAN-042',
            'type': 'org.w3id.waypost.route.departed.v1', 'time': at, 'subject': ROUTE, 'datacontenttype': 'application/ld+json',
            'sequence': '000000000001', 'data': data}


def state():
    return {'v': 1, 'van': VAN, 'ts': rig.utc(), 'duty': 'on', 'manifest': {'route': ROUTE, 'rev': 1}, 'scanners': [],
            'gnss': {'receiver': 'open', 'mode': 3, 'time': 'trusted', 'sentences_bad': 0, 'fixes_rejected': 0},
            'outbox': {'pending': 0, 'thinned': 0, 'dropped': 0, 'bytes': 0, 'written_bytes_today': 0, 'device_bytes_today': 0}}


def position(seq):
    """Positions up and down a street of twenty blocks, each in another block."""
    row, block = divmod(seq, 20)
    north = block if row % 2 == 0 else 19 - block
    return {'v': 1, 'van': VAN, 'seq': seq, 'ts': rig.utc(), 'lat': round(48.11 + north * 1e-3, 5), 'lon': round(11.51 + row * 1e-3, 5),
            'speed_mps': 8.3, 'mode': 3, 'motion': 'moving', 'route': ROUTE, 'stop_seq': 1, 'stop_status': 'in_transit_to', 'stops_remaining': 3}


def once(port, name, said):
    pipe = rig.says(port, f'fleet/v1/{VAN}/{name}', qos=1)
    pipe.communicate(json.dumps(said) + '\n')


def shown(page, published):
    """Returns the seconds from each PUBLISH to the first frame with a moved marker before the next PUBLISH."""
    frames = page.run('return seen')
    ends = published[1:] + [published[-1] + 10]
    waits = []
    for begun, end in zip(published, ends):
        first = next((frame for frame in frames if begun * 1000 - 1 <= frame < end * 1000), None)
        if first is not None:
            waits.append(max(0, first / 1000 - begun))
    return waits


def measure(path, port, customer, desk):
    with rig.service(rig.program(options.profile, 'waypost-backend'), path, port, path / 'backend.db') as its:
        url = f'http://127.0.0.1:{its.http}'
        with urllib.request.urlopen(its.request(f'/api/v1/routes/{ROUTE}', 'PUT', route()), timeout=30) as answer:
            links = json.loads(answer.read())['parcels']
        link = next(one['url'] for one in links if one['number'] == PARCEL)
        once(port, 'event', departed())
        once(port, 'state', state())
        pipe = rig.says(port, f'fleet/v1/{VAN}/position')
        say = lambda said: pipe.stdin.write(json.dumps(said) + '\n')
        say(position(1))
        desk.visit(f'{url}/desk')
        session = json.dumps({'token': rig.TOKEN})
        desk.run("return fetch('/api/v1/session', { method: 'POST', headers: { 'content-type': 'application/json', 'x-waypost': '1' }, "
                 f"body: '{session}' }}).then(() => null)")
        for page, address in ((desk, f'{url}/desk'), (customer, link)):
            page.visit(address)
            page.until("document.querySelector('.place-van')?.getAttribute('transform')")
            page.run(WATCH)
        positions, published = rig.Positions(), []
        by_api = positions.waits(rig.by_stream, its)
        by_broker = positions.waits(rig.by_broker, port)
        time.sleep(2)
        chance = random.Random(1)
        for seq in range(2, options.positions + 2):
            time.sleep(options.every * chance.uniform(0.5, 1.5))
            if seq % 30 == 0:
                once(port, 'state', state())
            said = position(seq)
            positions.publishes(said)
            published.append(time.time())
            say(said)
        time.sleep(2)
        pipe.stdin.close()
        pipe.wait()
        with positions.lock:
            rig.row('broker alone (floor)', by_broker.values(), len(published))
            rig.row('stream of the API (floor)', by_api.values(), len(published))
        for name, page in (('customer', customer), ('desk', desk)):
            frames = page.run('return frames')
            print(f'frame of the {name}\'s page (floor): p50 {sorted(frames)[len(frames) // 2]:.1f} ms, '
                  f'p99 {sorted(frames)[len(frames) * 99 // 100]:.1f} ms', flush=True)
            rig.row(f'pixel of the {name}\'s page', shown(page, published), len(published))


os.environ['PATH'] += ':/usr/sbin'
for needed in ('chromium', 'chromedriver'):
    if not shutil.which(needed):
        print(f'skipped: {needed} is not installed')
        sys.exit(0)
with rig.folder() as path, rig.mosquitto(path) as port, browser(path, 'customer') as customer, browser(path, 'desk') as desk:
    measure(path, port, customer, desk)
