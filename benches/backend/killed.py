#!/usr/bin/env python3
"""Kills consumers with SIGKILL while a fleet publishes its day. Everything must be stored exactly once.

    benches/backend/killed.py [--profile dev|ci|release] [--vans 20] [--kills 10] [--store sqlite|postgres|two]

`two`: two instances share one PostgreSQL and the vans' messages, and one of them is killed each time. The fleet
publishes everything twice. In the end the numbers of events and fixes must match those published, no event may be
stored twice or without its parcels, and each event's predecessor must be stored. Needs mosquitto, and PostgreSQL for
its rows. No root.
"""
import argparse, contextlib, random, subprocess, sys, time

import rig as r


def count(url, sql):
    return int(r.query(url, sql)[0][0])


class Instance:
    """A consumer that restarts under its own name."""

    def __init__(self, rig, port, url, name):
        self.command = [str(rig), 'consume', f'127.0.0.1:{port}', str(url), name]
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()


def check(url, events, points):
    there = "SELECT COUNT(*) FROM event AS e WHERE previous_seq IS NOT NULL AND NOT EXISTS " \
            "(SELECT 1 FROM event AS p WHERE p.van = e.van AND p.seq = e.previous_seq)"
    things = 'SELECT COUNT(*) FROM event WHERE NOT EXISTS (SELECT 1 FROM event_epc WHERE event_epc.n = event.n)'
    twice = 'SELECT COUNT(*) FROM (SELECT 1 FROM event GROUP BY source, id HAVING COUNT(*) > 1) AS twice'
    fixes_twice = 'SELECT COUNT(*) FROM (SELECT 1 FROM track GROUP BY van, seq HAVING COUNT(*) > 1) AS twice'
    found = {
        'events missing': events - count(url, 'SELECT COUNT(*) FROM event'),
        'fixes missing': points - count(url, 'SELECT COUNT(*) FROM track'),
        'events twice': count(url, twice),
        'fixes twice': count(url, fixes_twice),
        'events without their parcels': count(url, things),
        'gaps': count(url, there),
        'poison': count(url, 'SELECT COUNT(*) FROM poison'),
    }
    print(', '.join(f'{value} {what}' for what, value in found.items()), flush=True)
    return not any(found.values())


def run(rig, options, kind):
    chance = random.Random(options.seed)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(r.folder())
        url = str(path / 'store.db') if kind == 'sqlite' else stack.enter_context(r.postgres(path))
        if url is None:
            return True
        port = stack.enter_context(r.mosquitto(path))
        names = ['one', 'two'] if kind == 'two' else ['one']
        instances = [Instance(rig, port, url, name) for name in names]
        for instance in instances:
            stack.callback(instance.kill)
        time.sleep(3)
        kills = 0
        for _ in range(2):
            fleet = subprocess.Popen([rig, 'load', f'127.0.0.1:{port}', str(options.vans)], stdout=subprocess.PIPE, text=True)
            events, points = map(int, fleet.stdout.readline().split())
            due = options.kills // 2
            while due and fleet.poll() is None:
                time.sleep(chance.uniform(0.05, 0.6))
                instance = chance.choice(instances)
                instance.kill()
                instance.start()
                due, kills = due - 1, kills + 1
            fleet.wait()
            for _ in range(due):
                time.sleep(chance.uniform(0.05, 0.6))
                instance = chance.choice(instances)
                instance.kill()
                instance.start()
                kills += 1
        whole = lambda: (count(url, 'SELECT COUNT(*) FROM event') >= events
                         and count(url, 'SELECT COUNT(*) FROM track') >= points)
        r.wait_for(whole, 'whole day', 300)
        time.sleep(2)
        print(f'{kind}: {options.vans} vans, {events} events and {points} fixes, each published twice, {kills} kills: ', end='')
        return check(url, events, points)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--profile', default='ci')
    parser.add_argument('--vans', type=int, default=20)
    parser.add_argument('--kills', type=int, default=10)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--store', default='sqlite,postgres,two')
    options = parser.parse_args()
    rig = r.program(options.profile, 'examples/backend_rig')
    good = [run(rig, options, kind) for kind in options.store.split(',')]
    sys.exit(0 if all(good) else 1)


if __name__ == '__main__':
    main()
