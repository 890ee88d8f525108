#!/usr/bin/env python3
"""Kills the agent with SIGKILL repeatedly at random instants, from its first millisecond to the middle of a drain. It reads
a receiver on TCP that gives hundreds of fixes per second, each once. mosquitto acknowledges, and is unreachable for a
fifth of the time. The journal file is on tmpfs, as in a van.

A fix is accepted if it has a number in the journal file or the database when the process is gone; the script reads both
after each kill. In the end each of these numbers, and each between the first and the last of its run, must have arrived
at a subscriber. No number may be used for two points, and no fix may have two numbers.

Needs mosquitto, mosquitto_sub, and the release build. No root.
"""
import argparse, collections, contextlib, random, shutil, signal, sqlite3, struct, subprocess, sys, time

from parts import AGENT, Broker, Receiver, Subscriber, scope, skip_without, start, table, wait_for

VAN = 'KILLED'


def varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def numbers_in_tail(path):
    """Reads the complete frames (docs/outbox.md): length, CRC-32, postcard of (newest, state, [(seq, subject)])."""
    data = path.read_bytes() if path.exists() else b''
    at, frame, numbers = 0, 0, []
    while at + 8 <= len(data):
        length, _ = struct.unpack_from('<II', data, at)
        body = data[at + 8:at + 8 + length]
        at += 8 + length
        if len(body) < length:
            break
        frame += 1
        if frame == 1:  # The owner.
            continue
        _, place = varint(body, 0)
        state, place = varint(body, place)
        count, place = varint(body, place + state)
        for _ in range(count):
            seq, place = varint(body, place)
            size, place = varint(body, place)
            place += size
            numbers.append(seq)
    return numbers


def numbers_in_database(path, copy):
    """Reads a copy, because opening a WAL that was left behind writes to it."""
    if not path.exists():
        return []
    for ending in ('', '-wal'):
        if path.with_name(path.name + ending).exists():
            shutil.copyfile(path.with_name(path.name + ending), copy.with_name(copy.name + ending))
    database = sqlite3.connect(copy)
    try:
        rows = database.execute('SELECT first, last, n FROM batch').fetchall()
    except sqlite3.OperationalError:
        return []  # Killed before the table was created.
    finally:
        database.close()
    # A row whose ends were removed contains only the rest.
    return [seq for first, last, n in rows for seq in (range(first, last + 1) if last - first + 1 == n else (first, last))]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--kills', type=int, default=1000, help='(default %(default)s)')
    arguments.add_argument('--short', action='store_true', help='30 kills, for CI')
    arguments.add_argument('--rate', type=int, default=200, help='fixes a second (default %(default)s)')
    arguments.add_argument('--seed', type=int, default=1)
    options = arguments.parse_args()
    kills = 30 if options.short else options.kills
    skip_without('mosquitto', 'mosquitto_sub', AGENT)
    chance, began = random.Random(options.seed), time.monotonic()
    with scope() as (stack, folder):
        broker, receiver = Broker(stack, folder), Receiver(stack, options.rate)
        subscriber = Subscriber(stack, broker.direct, VAN)
        log = stack.enter_context(open(folder / 'agent.log', 'wb'))
        outbox, tail = folder / 'outbox.db', folder / 'tail'
        accepted, left, away_until, stages = set(), collections.Counter(), 0, collections.Counter()

        def agent(commit_after):
            (folder / 'waypost.toml').write_text(
                f'van.id = "{VAN}"\nmqtt.broker = "mqtt://127.0.0.1:{broker.port}"\ntrack.sampling = "raw"\n'
                f'gnss.source = "tcp:127.0.0.1:{receiver.port}"\noutbox.path = "{outbox}"\n'
                f'outbox.tail_path = "{tail}"\noutbox.commit_after_s = {commit_after}\ntrack.batch_s = 0.2\ncontrol.path = ""\n')
            return start(stack, AGENT, 'run', '--config', folder / 'waypost.toml', stderr=log)

        for kill in range(kills):
            if kill == away_until:
                broker.cut(False)
            if kill % 50 == 20 or options.short and kill == 10:
                broker.cut()
                away_until = kill + 10
            process = agent(chance.choice((0, 0, 1, 5, 60)))
            time.sleep(chance.choice((chance.uniform(0, 0.05), chance.uniform(0, 0.5), chance.uniform(0.2, 1.2))))
            if process.poll() is not None:
                print((folder / 'agent.log').read_text()[-2000:])
                raise RuntimeError(f'the agent exited unexpectedly with {process.returncode}')
            process.send_signal(signal.SIGKILL)
            process.wait()
            in_tail = numbers_in_tail(tail)
            in_file = numbers_in_database(outbox, folder / 'copy.db')
            left['in the tail'] += bool(set(in_tail) - set(in_file))
            left['in the database'] += bool(in_file)
            accepted.update(in_tail, in_file)
        broker.cut(False)
        receiver.is_quiet = True
        process = agent(5)
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: accepted <= subscriber.points.keys(), 60, 'all accepted points')
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        time.sleep(0.5)
        arrived = sorted(subscriber.points)
        runs, expected = [], sorted(accepted | set(arrived))
        for seq in expected:
            if runs and seq - runs[-1][-1] < 10_000:
                runs[-1].append(seq)
            else:
                runs.append([seq])
        whole = {seq for run in runs for seq in range(run[0], run[-1] + 1)}
        lost = sorted(whole - set(arrived))
        by_time = collections.Counter(subscriber.points[seq]['ts'] for seq in arrived)
        doubled = sum(times - 1 for times in by_time.values())
        text = (folder / 'agent.log').read_text()
    table([['kills', 'fixes accepted', 'arrived', 'lost', 'duplicates after deduplication', 'number reused', 'came twice', 'runs with points',
            'kills with points in the tail', 'in the database', 'seconds'],
           [kills, len(whole), len(arrived), len(lost), doubled, len(subscriber.reused), subscriber.twice, len(runs),
            left['in the tail'], left['in the database'], f'{time.monotonic() - began:.0f}']])
    print(f'agent exit {code} in the end; {receiver.said} fixes sent; '
          f'{sum("panicked" in line for line in text.splitlines())} panics, '
          f'{sum("damaged" in line for line in text.splitlines())} damaged')
    if lost:
        print('lost:', lost[:50])
    failed = bool(lost or doubled or subscriber.reused or code or len(arrived) < kills)
    print('FAILED' if failed else 'ok')
    return failed


if __name__ == '__main__':
    sys.exit(main())
