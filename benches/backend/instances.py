#!/usr/bin/env python3
"""Stops one of several instances while 10,000 messages arrive. In the end none may be missing.

    benches/backend/instances.py [PROGRAM] [--instances 2,3] [--stops sigterm,kill,host] [--messages 10000]

All instances share one PostgreSQL and one mosquitto. `sigterm` stops one in an orderly way, `kill` kills it with
SIGKILL, and `host` cuts its network. After the last two, `waypost-backend adopt` takes over its session. Prints what
`/healthz` of another instance said meanwhile. Runs in network namespaces of its own, so it needs root.
"""
import argparse, contextlib, json, os, pathlib, shutil, signal, subprocess, sys, threading, time, urllib.request

import rig as r

OUTER, INNER = 'waypost-bench-a', 'waypost-bench-b'
BROKER, HOST = '10.213.77.1', '10.213.77.2'
EXAMPLE = pathlib.Path(__file__).parents[2] / 'docs/contract/track.example.json'


def ip(*arguments, check=True):
    subprocess.run(['ip', *arguments], check=check, stderr=None if check else subprocess.DEVNULL)


@contextlib.contextmanager
def namespaces():
    """Connects two namespaces: broker, database and most instances in one, the host that is cut off in the other."""
    try:
        for name in (OUTER, INNER):
            ip('netns', 'add', name)
            ip('-n', name, 'link', 'set', 'lo', 'up')
        ip('-n', OUTER, 'link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'bench1', 'netns', INNER)
        for name, link, address in ((OUTER, 'bench0', BROKER), (INNER, 'bench1', HOST)):
            ip('-n', name, 'address', 'add', f'{address}/24', 'dev', link)
            ip('-n', name, 'link', 'set', link, 'up')
        yield
    finally:
        for name in (OUTER, INNER):
            ip('netns', 'delete', name, check=False)


class Instance:
    """The whole program, in a namespace."""

    def __init__(self, program, path, name, namespace, url, port):
        self.name, self.namespace, self.http = name, namespace, 18080
        self.program = program
        self.config = path / f'{name}.toml'
        self.log = path / f'{name}.log'
        self.http = 18080 + ord(name[-1])
        self.config.write_text(
            f'store.url = "{url}"\nmqtt.broker = "mqtt://{BROKER}:{port}"\nmqtt.client_id = "{name}"\n'
            f'parcels.domain = "id.example.com"\nhttp.listen = "127.0.0.1:{self.http}"\n')
        self.process = subprocess.Popen(['ip', 'netns', 'exec', namespace, program, 'run', '--config', self.config],
                                        stdout=subprocess.DEVNULL, stderr=self.log.open('w'))

    def health(self):
        with contextlib.suppress(OSError, ValueError):
            url = f'http://127.0.0.1:{self.http}/healthz'
            out = subprocess.run(['ip', 'netns', 'exec', self.namespace, 'curl', '-s', '-m', '5', url],
                                 capture_output=True, text=True)
            return json.loads(out.stdout)
        return {}

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def messages(count):
    """Track messages of one point each, as the contract's example has it."""
    track = json.loads(EXAMPLE.read_text())
    point = track['points'][0]
    for seq in range(1, count + 1):
        track['points'] = [{**point, 'seq': seq, 'ts': r.utc(seq - 20_000)}]
        yield json.dumps(track, separators=(',', ':'))


def describe(health):
    absent = [f"{it['client_id']} absent, {it['events_missing']} events missing" for it in health.get('instances_absent', [])]
    return ', '.join([health.get('status', 'no answer'), *absent])


def run(program, count, how, number):
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(r.folder())
        path.chmod(0o755)
        socket = stack.enter_context(r.postgres(path, listen=BROKER))
        database = f'postgresql://waypost@{BROKER}:5432/postgres?sslmode=disable'
        port = 1883
        conf = path / 'mosquitto.conf'
        conf.write_text(f'user root\nlistener {port} {BROKER}\nallow_anonymous true\nmax_queued_messages 0\n'
                        'max_inflight_messages 200\n')
        broker = shutil.which('mosquitto', path=os.environ['PATH'] + ':/usr/sbin')
        stack.enter_context(r.running([broker, '-c', conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(1)
        names = [f'backend-{letter}' for letter in 'abc'[:number]]
        instances = []
        for name in names:
            space = INNER if name == names[-1] else OUTER
            instance = Instance(program, path, name, space, database, port)
            stack.callback(instance.end)
            instances.append(instance)
        for instance in instances:
            with contextlib.suppress(SystemExit):
                r.wait_for(lambda: instance.health().get('status') == 'ok', f'health of {instance.name}')
            if instance.health().get('status') != 'ok':
                sys.exit(f'{instance.name}: {instance.health()}\n{instance.log.read_text()}')
        witness, victim = instances[0], instances[-1]
        said, over = [], threading.Event()

        def watch():
            while not over.is_set():
                words = describe(witness.health())
                if not said or said[-1] != words:
                    said.append(words)
                over.wait(0.5)

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        topic = f'fleet/v1/{json.loads(EXAMPLE.read_text())["van"]}/track'
        publisher = subprocess.Popen(['mosquitto_pub', '-V', '5', '-h', BROKER, '-p', str(port), '-q', '1', '-l', '-t', topic],
                                     stdin=subprocess.PIPE, text=True)
        stored = lambda: int(r.query(socket, 'SELECT COUNT(*) FROM track')[0][0])
        for index, message in enumerate(messages(count)):
            publisher.stdin.write(message + '\n')
            if index == count // 3:
                publisher.stdin.flush()
                r.wait_for(lambda: stored() > count // 20, 'first messages')
                if how == 'sigterm':
                    # `ip netns exec` replaces itself by the program.
                    victim.process.send_signal(signal.SIGTERM)
                elif how == 'kill':
                    victim.process.kill()
                else:
                    ip('-n', INNER, 'link', 'set', 'bench1', 'down')
            if index % 50 == 0:
                publisher.stdin.flush()
                time.sleep(0.01)
        publisher.stdin.close()
        publisher.wait()
        if how == 'sigterm':
            victim.process.wait(60)
            before = stored()
            # What the others received is stored soon.
            with contextlib.suppress(SystemExit):
                r.wait_for(lambda: stored() >= count, 'all messages', 60)
            outcome = 'stopped'
        else:
            r.wait_for(lambda: 'absent' in ' '.join(said), 'absent instance in healthz', 90)
            before = stored()
            adopted = subprocess.run([program, 'adopt', victim.name, '--config', witness.config], capture_output=True, text=True)
            outcome = (adopted.stdout.strip() or adopted.stderr.strip()).splitlines()[-1]
        with contextlib.suppress(SystemExit):
            r.wait_for(lambda: stored() >= count, 'all messages', 30)
            r.wait_for(lambda: witness.health().get('status') == 'ok', 'health ok', 30)
        over.set()
        watching.join()
        missing = count - stored()
        twice = r.query(socket, 'SELECT COUNT(*) FROM (SELECT 1 FROM track GROUP BY van, seq HAVING COUNT(*) > 1) AS t')[0][0]
        registered = [row[0] for row in r.query(socket, 'SELECT client_id FROM instance ORDER BY 1')]
        print(f'{number} instances, {how}: {count - before} missing before, {missing} missing and {twice} twice after; '
              f'{outcome}; registered: {" ".join(registered)}; health: {" -> ".join(said)}', flush=True)
        if how == 'host':
            ip('-n', INNER, 'link', 'set', 'bench1', 'up')
        return missing == 0 and twice == '0' and victim.name not in registered


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('program', nargs='?', default='target/release/waypost-backend')
    parser.add_argument('--instances', default='2,3')
    parser.add_argument('--stops', default='sigterm,kill,host')
    parser.add_argument('--messages', type=int, default=10_000)
    parser.add_argument('--inside', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which('ip'):
        print('skipped: network namespaces need root and iproute2')
        return
    if not options.inside:
        with namespaces():
            command = ['ip', 'netns', 'exec', OUTER, sys.executable, *sys.argv, '--inside']
            sys.exit(subprocess.run(command).returncode)
    good = [run(options.program, options.messages, how, int(number))
            for number in options.instances.split(',') for how in options.stops.split(',')]
    sys.exit(not all(good))


main()
