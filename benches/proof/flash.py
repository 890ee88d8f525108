#!/usr/bin/env python3
"""Flash wear: bytes and flushes per fix that reach the device, as counted by the kernel at a fresh ext4 on a loop device per
case, at 1 Hz in real time, all cases in parallel. Baselines in the same run: a plain SQLite outbox with a row and a
commit for each fix, and the floor, a preallocated file with the same packed bytes and one fdatasync at the same
intervals.

--day measures 10 hours in the points' own time, as fast as the disk allows. It includes rare work (checkpoints of the
WAL), and excludes the time-based writes of the file system.

Needs root, loop devices, e2fsprogs, and the release build of the example outbox_rig.
"""
import argparse, json, os, signal, sqlite3, subprocess, sys, threading, time

from parts import RIG, ext4, scope, skip_without, start, table

PACKED_BYTES = 8  # Bytes per point in the preallocated file.
WARM_S = 15


def plain(path, rate, points):
    """The usual design: one row and one commit per fix. The rows are never deleted here."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute('PRAGMA journal_mode = WAL')
    database.execute('PRAGMA synchronous = FULL')
    database.execute('CREATE TABLE IF NOT EXISTS outbox(id INTEGER PRIMARY KEY, payload TEXT NOT NULL)')
    began = time.monotonic()
    for number in range(points):
        if rate:
            time.sleep(max(0, began + number / rate - time.monotonic()))
        payload = json.dumps({'id': number, 'ts': 1_796_000_000_000 + number * 1000, 'lat': 48.3 + number * 1e-6,
                              'lon': 10.9 + number * 1e-6, 'speed': 12.34, 'course': 123.4})
        database.execute('INSERT INTO outbox VALUES (?, ?)', (number, payload))


def raw(path, rate, points, interval):
    """The floor: a file of constant size, one flush."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    if os.fstat(handle).st_size == 0:
        os.write(handle, bytes(4 << 20))
        os.fsync(handle)
    at, began = 0, time.monotonic()
    for number in range(0, points, interval):
        if rate:
            time.sleep(max(0, began + (number + interval) / rate - time.monotonic()))
        at += os.pwrite(handle, os.urandom(PACKED_BYTES * interval), at % (4 << 20))
        os.fdatasync(handle)


CASES = [  # name, command, mkfs -b
    ('outbox, W 5 s, good link', ['rig', 5, 'all-after-3'], 4096),
    ('outbox, W 5 s, 10 % stalled', ['rig', 5, 'stall:10'], 4096),
    ('outbox, W 0 s, offline', ['rig', 0, 'none'], 4096),
    ('outbox, W 5 s, offline', ['rig', 5, 'none'], 4096),
    ('outbox, W 10 s, offline', ['rig', 10, 'none'], 4096),
    ('outbox, W 60 s, offline', ['rig', 60, 'none'], 4096),
    ('outbox, W 5 s, offline, mkfs -b 1024', ['rig', 5, 'none'], 1024),
    ('outbox, W 60 s, offline, mkfs -b 1024', ['rig', 60, 'none'], 1024),
    ('raw file, each 1 s', ['raw', 1], 4096),
    ('raw file, each 5 s', ['raw', 5], 4096),
    ('raw file, each 10 s', ['raw', 10], 4096),
    ('raw file, each 60 s', ['raw', 60], 4096),
    ('raw file, each 5 s, mkfs -b 1024', ['raw', 5], 1024),
    ('raw file, each 60 s, mkfs -b 1024', ['raw', 60], 1024),
    ('plain row and commit for each fix', ['plain'], 4096),
]


def command(what, place, points, rate):
    if what[0] == 'rig':
        _, commit_after, acks = what
        speed = ['--rate', 1] if rate else ['--rate', 1, '--virtual']
        return [RIG, place / 'outbox.db', '--points', points, '--commit-after', commit_after, '--ack', acks, *speed]
    return [sys.executable, __file__, '--writer', json.dumps([*what, str(place / 'outbox.db'), rate, points])]


def reservation(stack, folder):
    """Measures a start and an orderly stop without points: the first start of a van, and each later one."""
    loop, place = ext4(stack, folder, 'starts', 24)
    costs = []
    for _ in range(3):
        subprocess.run(['sync', '-f', place])
        before = loop.written()
        subprocess.run([RIG, place / 'outbox.db', '--points', '0'], check=True, capture_output=True)
        subprocess.run(['sync', '-f', place])
        after = loop.written()
        costs.append((after[0] - before[0], after[1] - before[1]))
    return costs


def measure(case, loop, place, points, rate, results, stack):
    name, what, _ = case
    # The files are created with their full size before the count starts.
    subprocess.run([str(word) for word in command(what, place, 0, rate)], check=True, capture_output=True)
    to_do = command(what, place, points + 10_000 if rate else points, rate)
    if rate:
        process = start(stack, *to_do, stdout=subprocess.DEVNULL)
        time.sleep(WARM_S)
    subprocess.run(['sync', '-f', place])
    before, began = loop.written(), time.monotonic()
    if rate:
        time.sleep(points)
        fixes = (time.monotonic() - began) * rate
    else:
        start(stack, *to_do, stdout=subprocess.DEVNULL).wait()
        subprocess.run(['sync', '-f', place])
        fixes = points
    after = loop.written()
    results[name] = ((after[0] - before[0]) / fixes, (after[1] - before[1]) / fixes)
    if rate:
        process.send_signal(signal.SIGTERM)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--seconds', type=int, default=300, help='of each case, in real time (default %(default)s)')
    arguments.add_argument('--day', action='store_true', help='10 hours in the points\' own time instead')
    arguments.add_argument('--writer', help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.writer:
        kind, *rest, path, rate, points = json.loads(options.writer)
        return plain(path, rate, points) if kind == 'plain' else raw(path, rate, points, *rest)
    skip_without('root', 'loop', 'mkfs.ext4', RIG)
    points, rate = (36_000, 0) if options.day else (options.seconds, 1)
    results = {}
    with scope() as (stack, folder):
        places = [ext4(stack, folder, f'case-{index}', 24, block) for index, (*_, block) in enumerate(CASES)]
        threads = [threading.Thread(target=measure, args=(case, *place, points, rate, results, stack), daemon=True)
                   for case, place in zip(CASES, places)]
        if options.day:
            for thread in threads:
                thread.start()
                thread.join()
        else:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        starts = reservation(stack, folder)
    plain_bytes = results['plain row and commit for each fix'][0]
    floors = {0: 'raw file, each 1 s', 5: 'raw file, each 5 s', 10: 'raw file, each 10 s', 60: 'raw file, each 60 s'}
    rows = [['case', 'bytes per fix', 'flushes per fix', 'of the raw file', 'of the plain outbox']]
    for name, what, block in CASES:
        size, flushes = results[name]
        floor = floors.get(what[1], '') + (', mkfs -b 1024' if block == 1024 else '') if what[0] == 'rig' else ''
        ratio = f'{size / results[floor][0]:.2f}' if results.get(floor, [0])[0] and 'offline' in name else ''
        rows.append([name, f'{size:.0f}', f'{flushes:.3f}', ratio, f'{size / plain_bytes:.3f}' if plain_bytes else ''])
    print(f'{"10 hours in the points own time" if options.day else f"{options.seconds} s of 1 Hz"}, noatime,commit=60')
    table(rows)
    for what, (size, flushes) in zip(('first start of a van', 'start', 'start'), starts):
        print(f'{what} and stop without a point: {size} bytes, {flushes} flushes')


if __name__ == '__main__':
    sys.exit(main())
