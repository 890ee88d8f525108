#!/usr/bin/env python3
"""Measures events and fixes per second from the broker into the store, and the resources used, with two floors.

    benches/backend/rates.py [--profile dev|ci|release] [--vans 50] [--in-flight 200] [--only sqlite,postgres,...]
                            [--program target/release/waypost-backend]

receive   a client receives and acknowledges the same messages from the same broker, and discards them
insert    the same rows without a broker, one statement each, 200 a transaction
consume   waypost-backend's consumer, from the first PUBLISH of the fleet to the last commit

Needs mosquitto, and PostgreSQL for its rows. No root.
"""
import argparse, subprocess, time

import rig as r


def measured(its, until, seconds=600):
    """Returns the seconds and CPU seconds until the store has this number of rows."""
    start, cpu = time.monotonic(), its.cpu_s()
    r.wait_for(lambda: until(its.counts()), 'end of it', seconds)
    return time.monotonic() - start, its.cpu_s() - cpu


def receive(rig, path, options):
    with r.mosquitto(path, options.in_flight) as port, r.consumer(rig, 'receive', f'127.0.0.1:{port}') as its:
        background = subprocess.Popen([rig, 'load', f'127.0.0.1:{port}', str(options.vans)], stdout=subprocess.PIPE, text=True)
        events, points = map(int, background.stdout.readline().split())
        start = time.monotonic()
        messages = int(background.stdout.readline().split()[0])
        r.wait_for(lambda: its.counts()[2] >= messages, 'end of it', 600)
        return events, points, messages, time.monotonic() - start, None, its.peak_kib(), 0


def consumer(rig, path, port, options, store):
    if options.program:
        return r.service(options.program, path, port, store)
    return r.consumer(rig, 'consume', f'127.0.0.1:{port}', store)


def consume(rig, path, options, store):
    with r.mosquitto(path, options.in_flight) as port, consumer(rig, path, port, options, store) as its:
        cpu = its.cpu_s()
        background = subprocess.Popen([rig, 'load', f'127.0.0.1:{port}', str(options.vans)], stdout=subprocess.PIPE, text=True)
        events, points = map(int, background.stdout.readline().split())
        start = time.monotonic()
        r.wait_for(lambda: its.counts()[0] >= events and its.counts()[1] >= points, 'end of it', 600)
        took = time.monotonic() - start
        messages = int(background.stdout.readline().split()[0])
        counts = its.counts()
        assert counts[4] == 0 and counts[0] == events and counts[1] == points, counts
        return events, points, messages, took, its.cpu_s() - cpu, its.peak_kib(), counts[3]


def insert(rig, options, store):
    out = subprocess.run([rig, 'insert', store, str(options.vans)], capture_output=True, text=True, check=True).stdout.split()
    return int(out[0]), float(out[3])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--profile', default='ci')
    parser.add_argument('--vans', type=int, default=50)
    parser.add_argument('--in-flight', type=int, default=200)
    parser.add_argument('--program', help='run the whole waypost-backend instead of its consumer alone')
    parser.add_argument('--only', default='receive,insert-sqlite,sqlite,insert-postgres,postgres')
    options = parser.parse_args()
    rig = r.program(options.profile, 'examples/backend_rig')
    print('| what | events | fixes | messages | s | events/s | fixes/s | messages/s | CPU s | peak KiB | batches |')
    print('|---|---|---|---|---|---|---|---|---|---|---|')

    def row(what, events, points, messages, took, cpu, peak, batches):
        cpu = '' if cpu is None else f'{cpu:.2f}'
        print(f'| {what} | {events} | {points} | {messages} | {took:.2f} | {events / took:.0f} | {points / took:.0f} '
              f'| {messages / took:.0f} | {cpu} | {peak} | {batches} |', flush=True)

    for what in options.only.split(','):
        with r.folder() as path:
            if what == 'receive':
                row(what, *receive(rig, path, options))
            elif what == 'sqlite':
                row(what, *consume(rig, path, options, str(path / 'store.db')))
            elif what == 'insert-sqlite':
                rows, took = insert(rig, options, str(path / 'store.db'))
                print(f'| {what} | | | | {took:.2f} | {rows / took:.0f} rows/s | | | | | |', flush=True)
            else:
                with r.postgres(path) as url:
                    if url and what == 'postgres':
                        row(what, *consume(rig, path, options, url))
                    elif url:
                        rows, took = insert(rig, options, url)
                        print(f'| {what} | | | | {took:.2f} | {rows / took:.0f} rows/s | | | | | |', flush=True)


if __name__ == '__main__':
    main()
