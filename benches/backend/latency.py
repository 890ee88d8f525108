#!/usr/bin/env python3
"""From a van's PUBLISH to the dispatcher's stream: how long a position takes through broker, backend and API.

    benches/backend/latency.py [--profile dev|ci|release] [--vans 10] [--seconds 60] [--store sqlite|postgres]

A real mosquitto, a real waypost-backend, a position a second of each van (QoS 0), and one client on
`GET /api/v1/vans/live`. Beside it the floor: the same messages as another subscriber of the broker has them. Both by one
clock, from just before the line is handed to mosquitto_pub. Needs mosquitto and its clients, and PostgreSQL for its rows. No root.
"""
import argparse, datetime, hashlib, json, os, subprocess, threading, time, urllib.request

import rig

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument('--profile', default='ci')
arguments.add_argument('--vans', type=int, default=10)
arguments.add_argument('--seconds', type=int, default=60)
arguments.add_argument('--store', default='sqlite')
options = arguments.parse_args()
TOKEN = 'bench'
sent, lock = {}, threading.Lock()


def row(name, waits):
    waits = sorted(waits)
    at = lambda part: 1000 * waits[min(len(waits) - 1, int(part * len(waits)))]
    print(f'{name}: {len(waits)} of {len(sent)} positions, p50 {at(.5):.1f} ms, p99 {at(.99):.1f} ms, max {1000 * waits[-1]:.1f} ms')


def config(path, port, http, store):
    file = path / 'backend.toml'
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    file.write_text(f'''[store]
{store}
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
[http]
listen = "127.0.0.1:{http}"
[parcels]
domain = "id.example.com"
[[token]]
name = "bench"
sha256 = "{digest}"
scopes = "desk"
''')
    return file


def stream(http, waits):
    request = urllib.request.Request(f'http://127.0.0.1:{http}/api/v1/vans/live', headers={'Authorization': f'Bearer {TOKEN}'})
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if line.startswith(b'data:'):
                position = json.loads(line[5:]).get('position')
                note(position and (position['van'], position['seq']), waits)


def note(key, waits):
    now = time.monotonic()
    with lock:
        if key in sent and key not in waits:
            waits[key] = now - sent[key]


def subscriber(process, waits):
    for line in process.stdout:
        position = json.loads(line)
        note((position['van'], position['seq']), waits)


def position(van, seq):
    now = datetime.datetime.now(datetime.timezone.utc)
    return json.dumps({'v': 1, 'van': van, 'seq': seq, 'ts': now.strftime('%Y-%m-%dT%H:%M:%S.') + f'{now.microsecond // 1000:03}Z',
                       'lat': round(48.1 + seq * 1e-4, 5), 'lon': 11.5, 'speed_mps': 8.3, 'mode': 3, 'stop_status': 'in_transit_to'})


def measure(path, port, store):
    http = rig.free_port()
    backend = [rig.program(options.profile, 'waypost-backend'), 'run', '--config', config(path, port, http, store)]
    hears = ['mosquitto_sub', '-V', '5', '-p', str(port), '-t', 'fleet/v1/+/position']
    with (rig.running(backend, stderr=subprocess.DEVNULL),
          rig.running(hears, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as hearing):
        rig.wait_for(lambda: rig.connects(http), 'backend')
        time.sleep(2)
        by_api, by_broker = {}, {}
        threading.Thread(target=stream, args=(http, by_api), daemon=True).start()
        threading.Thread(target=subscriber, args=(hearing, by_broker), daemon=True).start()
        time.sleep(2)
        vans = [f'VAN-{number:03}' for number in range(1, options.vans + 1)]
        pipes = {van: subprocess.Popen(['mosquitto_pub', '-V', '5', '-p', str(port), '-q', '0', '-l', '-t', f'fleet/v1/{van}/position'],
                                       stdin=subprocess.PIPE, text=True, bufsize=1) for van in vans}
        begun = time.monotonic()
        for second in range(options.seconds):
            for index, van in enumerate(vans):
                time.sleep(max(0, begun + second + index / len(vans) - time.monotonic()))
                line = position(van, second + 1)
                with lock:
                    sent[van, second + 1] = time.monotonic()
                pipes[van].stdin.write(line + '\n')
        time.sleep(3)
        for pipe in pipes.values():
            pipe.stdin.close()
            pipe.wait()
        with lock:
            row('broker alone (floor)', by_broker.values())
            row(f'stream of the API, {options.store}', by_api.values())


os.environ['PATH'] += ':/usr/sbin'
with rig.folder() as path, rig.mosquitto(path) as port:
    if options.store == 'sqlite':
        measure(path, port, f'path = "{path}/backend.db"')
    else:
        with rig.postgres(path) as url:
            if url:
                socket = url.split("'")[1]
                measure(path, port, f'url = "postgresql:///postgres?host={socket}&user=waypost"')
