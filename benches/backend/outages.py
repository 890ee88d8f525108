#!/usr/bin/env python3
"""Interrupts each dependency of waypost-backend in turn while a fleet publishes its day, and restores it.

    benches/backend/outages.py PROGRAM [--profile dev|ci|release] [--vans 20] [--only postgres,broker,disk]

postgres  the server is stopped, restarted, and killed
broker    mosquitto is stopped with messages queued, and returns with them
disk      SQLite's file system is full (a small tmpfs in a namespace of its own), and later has space again

PROGRAM is the whole waypost-backend. Each time /healthz must report the outage, the log must report it and the recovery
in one line each, and in the end no record may be missing or stored twice. Needs mosquitto, PostgreSQL, and root or user
namespaces for the disk.
"""
import argparse, collections, contextlib, os, pathlib, shutil, subprocess, sys, time

import killed, rig as r


class Broker:
    """A mosquitto that stores queued messages on disk."""

    def __init__(self, path):
        self.port = r.free_port()
        self.conf = path / 'mosquitto.conf'
        self.conf.write_text(
            f'user root\nlistener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 100\n'
            f'persistence true\npersistence_location {path}/\n')
        self.start()

    def start(self):
        program = shutil.which('mosquitto', path=os.environ['PATH'] + ':/usr/sbin')
        self.process = subprocess.Popen([program, '-c', self.conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        r.wait_for(lambda: r.connects(self.port), 'mosquitto')

    def stop(self):
        self.process.terminate()
        self.process.wait()


def health(its, **expected):
    is_so = lambda: all(its.health().get(name) == value for name, value in expected.items())
    r.wait_for(is_so, f'{expected} in /healthz, which reports {its.health()}', 90)


def fleet(rig, broker, options):
    """The fleet's events and points, published once."""
    process = subprocess.Popen([rig, 'load', f'127.0.0.1:{broker.port}', str(options.vans)], stdout=subprocess.PIPE, text=True)
    return process, *map(int, process.stdout.readline().split())


def whole(its, url, events, points):
    r.wait_for(lambda: killed.count(url, 'SELECT COUNT(*) FROM event') >= events
               and killed.count(url, 'SELECT COUNT(*) FROM track') >= points, 'whole day', 300)
    health(its, status='ok')
    return killed.check(url, events, points)


def said(its, most):
    """Prints the lines of the log, and returns whether no problem was logged more often than justified."""
    lines = collections.Counter(line.split('=')[0].rsplit(' ', 1)[0] if '=' in line else line for line in its.lines())
    for line, times in lines.items():
        print(f'    {times} x {line}')
    return all(times <= most for line, times in lines.items() if not line.startswith('INFO'))


def without_postgres(rig, options, path):
    with r.postgres(path) as url:
        if url is None:
            return True
        broker = Broker(path)
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: broker.stop())
            its = stack.enter_context(r.service(options.program, path, broker.port, url))
            load, events, points = fleet(rig, broker, options)
            for how in ('fast', 'immediate'):
                time.sleep(0.3)
                r.postgres_control(path, '-m', how, 'stop')
                health(its, status='down', store='does not answer')
                time.sleep(3)
                if how == 'immediate':
                    load.wait()
                    broker.stop()
                    health(its, status='down', broker='not connected')
                    broker.start()
                r.postgres_control(path, 'start')
                health(its, store='answers')
            load.wait()
            good = whole(its, url, events, points)
            return said(its, 2) and good


def without_broker(rig, options, path):
    url = str(path / 'store.db')
    broker = Broker(path)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: broker.stop())
        its = stack.enter_context(r.service(options.program, path, broker.port, url))
        its.process.send_signal(r.signal.SIGSTOP)
        load, events, points = fleet(rig, broker, options)
        load.wait()
        its.process.send_signal(r.signal.SIGCONT)
        time.sleep(0.2)
        broker.stop()
        health(its, status='degraded', broker='not connected')
        time.sleep(2)
        broker.start()
        good = whole(its, url, events, points)
        return said(its, 1) and good


def without_disk(rig, options, path):
    disk = path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk]).returncode:
        print('skipped: no tmpfs of our own here')
        return True
    url = str(disk / 'store.db')
    broker = Broker(path)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: subprocess.run(['umount', disk]))
        stack.callback(lambda: broker.stop())
        its = stack.enter_context(r.service(options.program, path, broker.port, url))
        ballast = disk / 'ballast'
        with ballast.open('wb') as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        load, events, points = fleet(rig, broker, options)
        health(its, status='degraded', store='takes nothing')
        time.sleep(5)
        page = its.ask('/')
        ballast.unlink()
        load.wait()
        good = whole(its, url, events, points)
        if '<html' not in page:
            print(f'no page while the disk was full: {page[:200]}')
            good = False
        return said(its, 1) and good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('program', type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument('--profile', default='ci')
    parser.add_argument('--vans', type=int, default=20)
    parser.add_argument('--only', default='postgres,broker,disk')
    options = parser.parse_args()
    # A mount in this namespace affects no other process.
    if 'disk' in options.only and 'WAYPOST_APART' not in os.environ:
        apart = ['unshare', '--mount'] if os.geteuid() == 0 else ['unshare', '--mount', '--map-root-user']
        os.execvpe('unshare', [*apart, sys.executable, *sys.argv], {**os.environ, 'WAYPOST_APART': '1'})
    rig = r.program(options.profile, 'examples/backend_rig')
    tries = {'postgres': without_postgres, 'broker': without_broker, 'disk': without_disk}
    good = []
    for what in options.only.split(','):
        with r.folder() as path:
            print(f'{what}:', flush=True)
            good.append(tries[what](rig, options, path))
    sys.exit(0 if all(good) else 1)


if __name__ == '__main__':
    main()
