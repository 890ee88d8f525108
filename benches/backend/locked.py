#!/usr/bin/env python3
"""Locks one table after another as CREATE INDEX does, and asks the whole program meanwhile.

    benches/backend/locked.py [PROGRAM] [--tables audit,event,van,parcel,track] [--seconds 25]

Prints for each table and request the statuses and the slowest answer, and what `/healthz` said. No answer may take 15 s,
`/healthz` must name the table, and a message of a van that was published meanwhile must be stored afterwards. Needs
mosquitto and PostgreSQL. No root.
"""
import argparse, collections, contextlib, json, pathlib, subprocess, sys, threading, time, urllib.error, urllib.request

import rig as r

EXAMPLE = pathlib.Path(__file__).parents[2] / 'docs/contract/track.example.json'
MAX_S = 15


def publish(port, seq):
    track = json.loads(EXAMPLE.read_text())
    track['points'] = [{**track['points'][0], 'seq': seq, 'ts': r.utc(seq - 1000)}]
    topic = f'fleet/v1/{track["van"]}/track'
    subprocess.run(['mosquitto_pub', '-V', '5', '-p', str(port), '-q', '1', '-t', topic, '-m', json.dumps(track)], check=True)
    return track['van']


def requests(its, van):
    day = f'/api/v1/vans/{van}/day?from={r.utc(-3600)}&until={r.utc()}'
    return {
        'look-up': its.request('/api/v1/track', 'POST', {'number': 'JJD1', 'postcode': '80331'}),
        'sign-in': its.request('/api/v1/session', 'POST', {'token': r.TOKEN}),
        'vans': its.request('/api/v1/vans'),
        'day': its.request(day),
    }


def ask(request):
    """Returns status and seconds."""
    request.add_header('X-Waypost', '1')
    start = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError:
        status = 0
    return status, time.monotonic() - start


def run(its, port, url, table, seconds, seq):
    van = publish(port, seq)
    stored = lambda: int(r.query(url, 'SELECT COUNT(*) FROM track')[0][0])
    r.wait_for(lambda: stored() == seq, 'message')
    lock = subprocess.Popen([r.POSTGRES / 'psql', url, '-qc', f'BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT pg_sleep({seconds})'],
                            stdout=subprocess.DEVNULL)
    time.sleep(1)
    publish(port, seq + 1)
    end = time.monotonic() + seconds - 5
    answers, said = collections.defaultdict(list), []

    def loop(name):
        while time.monotonic() < end:
            answers[name].append(ask(requests(its, van)[name]))
            time.sleep(0.3)

    # Several clients for each, more than there are connections.
    clients = [threading.Thread(target=loop, args=(name,)) for name in requests(its, van) for _ in range(3)]
    for client in clients:
        client.start()
    while time.monotonic() < end:
        health = its.health()
        words = ' '.join([health.get('status', '?'), health.get('store', '?'), *health.get('locked_tables', [])])
        if not said or said[-1] != words:
            said.append(words)
        time.sleep(0.5)
    for client in clients:
        client.join()
    lock.wait()
    r.wait_for(lambda: stored() == seq + 1, 'message of meanwhile', 60)
    columns = []
    for name, results in answers.items():
        statuses = collections.Counter(status for status, _ in results)
        worst = max(seconds for _, seconds in results)
        columns.append(f'{name} {dict(statuses)} max {worst:.1f} s')
    print(f'{table} locked: {"; ".join(columns)}; healthz: {" -> ".join(said)}', flush=True)
    slow = any(seconds > MAX_S or not status for results in answers.values() for status, seconds in results)
    return not slow and any(table in words for words in said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('program', nargs='?', default='target/release/waypost-backend')
    parser.add_argument('--tables', default='audit,event,van,parcel,track')
    parser.add_argument('--seconds', type=int, default=25)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(r.folder())
        url = stack.enter_context(r.postgres(path))
        if url is None:
            return
        port = stack.enter_context(r.mosquitto(path))
        its = stack.enter_context(r.service(options.program, path, port, url))
        good = [run(its, port, url, table, options.seconds, 2 * index + 1)
                for index, table in enumerate(options.tables.split(','))]
    sys.exit(not all(good))


main()
