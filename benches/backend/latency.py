#!/usr/bin/env python3
"""Measures the latency of a position from a van's PUBLISH through broker, backend and API to the dispatcher's stream.

    benches/backend/latency.py [--profile dev|ci|release] [--vans 10] [--seconds 60] [--store sqlite|postgres]

A real mosquitto, a real waypost-backend, one position per second and van (QoS 0), and one client on
`GET /api/v1/vans/live`. The floor is the latency of the same messages at another subscriber of the broker. One clock
measures both, from just before the line is written to mosquitto_pub. Needs mosquitto and its clients, and PostgreSQL
for its rows. No root.
"""
import argparse, json, os, time

import rig

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument('--profile', default='ci')
arguments.add_argument('--vans', type=int, default=10)
arguments.add_argument('--seconds', type=int, default=60)
arguments.add_argument('--store', default='sqlite')
options = arguments.parse_args()


def position(van, seq):
    return {'v': 1, 'van': van, 'seq': seq, 'ts': rig.utc(), 'lat': round(48.1 + seq * 1e-4, 5), 'lon': 11.5, 'speed_mps': 8.3,
            'mode': 3, 'motion': 'moving'}


def measure(path, port, store):
    with rig.service(rig.program(options.profile, 'waypost-backend'), path, port, store) as its:
        positions = rig.Positions()
        by_api = positions.waits(rig.by_stream, its)
        by_broker = positions.waits(rig.by_broker, port)
        time.sleep(2)
        vans = [f'VAN-{number:03}' for number in range(1, options.vans + 1)]
        pipes = {van: rig.says(port, f'fleet/v1/{van}/position') for van in vans}
        begun = time.monotonic()
        for second in range(options.seconds):
            for index, van in enumerate(vans):
                time.sleep(max(0, begun + second + index / len(vans) - time.monotonic()))
                said = position(van, second + 1)
                positions.publishes(said)
                pipes[van].stdin.write(json.dumps(said) + '\n')
        time.sleep(3)
        for pipe in pipes.values():
            pipe.stdin.close()
            pipe.wait()
        with positions.lock:
            rig.row('broker alone (floor)', by_broker.values(), len(positions.sent))
            rig.row(f'stream of the API, {options.store}', by_api.values(), len(positions.sent))


os.environ['PATH'] += ':/usr/sbin'
with rig.folder() as path, rig.mosquitto(path) as port:
    if options.store == 'sqlite':
        measure(path, port, path / 'backend.db')
    else:
        with rig.postgres(path) as store:
            if store:
                measure(path, port, store)
