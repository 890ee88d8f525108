#!/usr/bin/env python3
"""Checks that no position of the van is stored or sent while the driver is off duty.

The receiver keeps sending, and the van keeps driving. Between `waypost duty off` and `waypost duty on`, the test counts
the messages at the broker, and with the link cut the points in the outbox's file and in the journal file.

usage: duty.py [--seconds N]. Needs mosquitto and a release build.
"""
import argparse, collections, contextlib, hashlib, json, pathlib, shutil, sqlite3, subprocess, sys, threading, time

from parts import AGENT, Broker, Receiver, scope, skip_without, start, wait_for

VAN = 'VAN-DUTY'


def listen(stack, port):
    """Collects every message from now on: (time, topic, payload)."""
    heard = []
    process = start(stack, 'mosquitto_sub', '-p', port, '-V', 5, '-q', 1, '-t', f'fleet/v1/{VAN}/#', '-F', '%t %p',
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def read():
        for line in process.stdout:
            topic, _, payload = line.rstrip(b'\n').partition(b' ')
            heard.append((time.monotonic(), topic.decode().rsplit('/', 1)[1], payload))
    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.3)
    return heard


def points(path):
    """Returns the number of points in the file by its row counts; reads a copy, because the agent locks the file."""
    copy = path.with_name('copy.db')
    for end in ('', '-wal'):
        shutil.copyfile(f'{path}{end}', f'{copy}{end}')
    with contextlib.closing(sqlite3.connect(copy)) as file:
        count = file.execute('SELECT coalesce(sum(n), 0) FROM batch').fetchone()[0]
    for end in ('', '-wal', '-shm'):
        pathlib.Path(f'{copy}{end}').unlink(missing_ok=True)
    return count


def fingerprint(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else 'none'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=20)
    options = parser.parse_args()
    skip_without('mosquitto', 'mosquitto_sub', AGENT)
    with scope() as (stack, folder):
        broker, receiver = Broker(stack, folder), Receiver(stack, 5)
        config = folder / 'waypost.toml'
        config.write_text(
            f'van.id = "{VAN}"\nmqtt.broker = "mqtt://127.0.0.1:{broker.port}"\nmqtt.position_moving_s = 0\n'
            f'gnss.source = "tcp:127.0.0.1:{receiver.port}"\ntrack.sampling = "raw"\ntrack.batch_s = 0.5\n'
            f'outbox.path = "{folder}/outbox.db"\noutbox.tail_path = "{folder}/tail"\noutbox.commit_after_s = 0\n'
            f'control.path = "{folder}/control"\n')
        heard = listen(stack, broker.direct)
        log = open(folder / 'log', 'wb')
        stack.callback(log.close)
        start(stack, AGENT, 'run', '--config', config, stdout=log, stderr=log)

        def say(*words):
            done = subprocess.run([AGENT, *words, '--control', folder / 'control'], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            return done.stdout
        wait_for(lambda: any(topic == 'track' for _, topic, _ in heard), 30, 'the first track')

        def between(what):
            say('duty', what)
            # Messages already sent may still arrive.
            time.sleep(2)
            begin = len(heard)
            time.sleep(options.seconds)
            return collections.Counter(topic for _, topic, _ in heard[begin:]), heard[begin:]

        failed = []
        for what in ('on', 'off', 'break', 'on'):
            counts, messages = between(what)
            size = sum(len(payload) for _, topic, payload in messages if topic != 'state')
            print(f'duty {what:5} for {options.seconds:.0f} s: ' + (', '.join(f'{n} {t}' for t, n in sorted(counts.items())) or 'no message')
                  + f'; {size} bytes but for state')
            told = counts['position'] + counts['track'] + counts['event']
            if (told == 0) != (what != 'on'):
                failed.append(what)
            if what != 'on' and any(b'"lat"' in payload for _, _, payload in messages):
                failed.append('a latitude')
        broker.cut()
        time.sleep(3)
        database, tail = folder / 'outbox.db', folder / 'tail'
        rows = {}
        for what in ('on', 'off', 'on'):
            say('duty', what)
            time.sleep(2)
            before, tail_before = points(database), fingerprint(tail)
            time.sleep(options.seconds / 2)
            after, tail_after = points(database), fingerprint(tail)
            rows[what] = after - before
            print(f'link cut, duty {what:3}: {after - before} points were stored in the file in {options.seconds / 2:.0f} s; '
                  f'tail file {"unchanged" if tail_before == tail_after else "changed"}')
            if (after == before) != (what == 'off') or what == 'off' and tail_before != tail_after:
                failed.append(f'{what} in the file')
        print('the odometer of', json.loads(say('status', '--json'))['journey'])
        if failed:
            print('FAILED:', failed)
            sys.exit(1)
        print('off duty no position was stored or sent')


if __name__ == '__main__':
    main()
