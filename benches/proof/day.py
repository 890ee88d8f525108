#!/usr/bin/env python3
"""Compares a day of deliveries with the ground truth. `waypost-sim` plays a van's receiver, its hand scanner and its
RFID reader, the agent turns them into events, the link is cut, and the agent is killed. Each stage of each parcel must
arrive once and in order, and so must the route's summary.

usage: day.py [--short] [--route FILE] [--speed TIMES] [--cuts N] [--kills N] [--seed N] [--list]

The speed is a multiple of real time; a busy machine needs a lower one. Needs mosquitto and `cargo build --release -p waypost` and `-p waypost-sim`.
"""
import argparse, collections, contextlib, json, os, pathlib, random, subprocess, sys, threading, time

from parts import AGENT, ROOT, SIMULATOR, Broker, scope, skip_without, start, wait_for

VAN = 'VAN-DAY'
CONFIG = '''
[van]
id = "{van}"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
ack_timeout_s = 10.0
require_subscriber = true
[gnss]
source = "serial:{folder}/receiver"
baud = 460800
[delivery]
domain = "id.example.com"
[[scanner]]
name = "hand"
source = "serial:{folder}/scans@9600"
[[scanner]]
name = "portal"
kind = "rfid"
source = "serial:{folder}/tags@9600"
[outbox]
path = "{folder}/outbox.db"
tail_path = "{folder}/tail"
[control]
path = "{folder}/control"
[log]
level = "info"
'''


class Backend:
    """Stores events by id, and counts duplicates."""

    def __init__(self, stack, port):
        self.events, self.arrived, self.points, self.poison = {}, 0, {}, []
        self.process = start(stack, 'mosquitto_sub', '-p', port, '-V', 5, '-q', 1, '-i', 'backend', '-c', '-x', 86400, '-t',
                             f'fleet/v1/{VAN}/event', '-t', f'fleet/v1/{VAN}/track', '-F', '%t %p', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self.read, daemon=True).start()
        time.sleep(0.5)

    def read(self):
        for line in self.process.stdout:
            topic, payload = line.split(b' ', 1)
            if topic.endswith(b'/event'):
                event = json.loads(payload)
                self.arrived += 1
                known = self.events.setdefault(event['id'], event)
                if known != event:
                    self.poison.append(event['id'])
            elif topic.endswith(b'/track'):
                for point in json.loads(payload)['points']:
                    self.points[point['seq']] = point['ts']

    def told(self):
        """Returns the events in the order of their numbers."""
        return sorted(self.events.values(), key=lambda event: event['sequence'])


def kind(event):
    return '.'.join(event['type'].split('.')[-3:-1])


def parcels(event):
    data = event['data']
    return [uri.rsplit('/', 1)[1] for uri in data.get('childEPCs') or data.get('epcList') or []]


def true_stages(path):
    """Returns the expected events of each parcel and stop, and the summary."""
    stages, route, summary = collections.defaultdict(list), [], None
    for line in path.read_text().splitlines():
        fact = json.loads(line)
        what = fact['happening']
        if what in ('parcel.loaded', 'parcel.delivered', 'parcel.attempted', 'parcel.returned', 'parcel.damaged'):
            stages[fact['parcel']].append((what, fact['utc']))
        elif what in ('route.departed', 'stop.arrived'):
            route.append((what, fact.get('stop'), fact['utc']))
        elif what == 'route.completed':
            summary = fact['summary']
    return stages, route, summary


def told_stages(events):
    retracted = {event['data']['eventID'] for event in events if kind(event) == 'event.retracted'}
    stages, route, summary = collections.defaultdict(list), [], None
    for event in events:
        what = kind(event)
        if event['data']['eventID'] in retracted:
            continue
        if what in ('parcel.loaded', 'parcel.delivered', 'parcel.attempted', 'parcel.returned', 'parcel.damaged'):
            for parcel in parcels(event):
                stages[parcel].append((what, event['time']))
        elif what == 'stop.arrived':
            route.append((what, event['data']['bizLocation']['id'].rsplit('/', 1)[1], event['time']))
        elif what == 'route.departed':
            route.append((what, None, event['time']))
        elif what == 'route.completed':
            summary = event['data']['waypost:summary']
    return stages, route, summary


def seconds(late, early):
    at = [time.mktime(time.strptime(text[:19], '%Y-%m-%dT%H:%M:%S')) + float(text[19:-1]) for text in (late, early)]
    return at[0] - at[1]


def against_truth(truth, told, route_until=None):
    """Returns the differences as text."""
    wrong, (stages, route, _), (told_by_parcel, told_route, _) = [], truth, told
    for parcel in sorted(stages.keys() | told_by_parcel.keys()):
        true, said = [what for what, _ in stages[parcel]], [what for what, _ in told_by_parcel[parcel]]
        if true != said:
            wrong.append(f'{parcel}: true {true}, reported {said}')
    true, said = [(what, stop) for what, stop, _ in route], [(what, stop) for what, stop, _ in told_route]
    if true != said:
        wrong.append(f'route: true {true}, reported {said}')
    late = sorted(seconds(said[2], true[2]) for true, said in zip(route, told_route) if true[:2] == said[:2])
    return wrong, late


def compare(true, said):
    """Returns the summary beside the truth, as rows of name, truth, reported value and difference in percent."""
    names = {'stops_total': 'waypost:stopsTotal', 'stops_served': 'waypost:stopsServed', 'delivered': 'waypost:delivered',
             'dwell_s': 'waypost:dwellS', 'idle_s': 'waypost:idleS', 'duration_s': 'waypost:durationS', 'distance_m': 'waypost:distanceM'}
    for name, theirs in names.items():
        a, b = true[name], said.get(theirs)
        yield name, a, b, None if b is None or not a else 100 * (b - a) / a


class Day:
    def __init__(self, stack, folder, options):
        self.stack, self.folder, self.options = stack, folder, options
        self.broker = Broker(stack, folder)
        self.backend = Backend(stack, self.broker.direct)
        (folder / 'waypost.toml').write_text(CONFIG.format(van=VAN, port=self.broker.port, folder=folder))
        self.log = open(folder / 'log', 'ab')
        stack.callback(self.log.close)
        self.van = start(
            stack, SIMULATOR, options.route, '--pty', folder / 'receiver', '--baud', 460800, '--scans-pty',
            folder / 'scans', '--tags-pty', folder / 'tags', '--manifest', folder / 'manifest.json', '--truth',
            folder / 'truth.jsonl', '--speed', options.speed, *(('--seed', options.seed) if options.seed else ()),
            stdout=subprocess.DEVNULL, stderr=self.log)
        wait_for((folder / 'manifest.json').exists, 10, 'the manifest')
        time.sleep(0.2)
        subprocess.run(['mosquitto_pub', '-p', str(self.broker.direct), '-q', '1', '-r', '-t', f'fleet/v1/{VAN}/manifest',
                        '-f', str(folder / 'manifest.json')], check=True)
        self.begin()

    def begin(self):
        self.agent = start(self.stack, AGENT, 'run', '--config', self.folder / 'waypost.toml', '--speed', self.options.speed,
                           stdout=self.log, stderr=self.log)

    def trouble(self):
        """Cuts the link and kills the agent at random while the van drives."""
        chance = random.Random(self.options.seed or 1)
        manifest = json.loads((self.folder / 'manifest.json').read_text())
        whole_s = self.options.day_s / self.options.speed
        at = sorted([(chance.uniform(0.1, 0.9) * whole_s, 'cut') for _ in range(self.options.cuts)]
                    + [(chance.uniform(0.1, 0.9) * whole_s, 'kill') for _ in range(self.options.kills)])
        began = time.monotonic()
        for when, what in at:
            time.sleep(max(0, began + when - time.monotonic()))
            if self.van.poll() is not None:
                return
            if what == 'cut':
                self.broker.cut()
                time.sleep(chance.uniform(0.05, 0.15) * whole_s / max(1, self.options.cuts))
                self.broker.cut(False)
            else:
                self.agent.kill()
                self.agent.wait()
                self.begin()
            print(f'  {time.monotonic() - began:6.1f} s  {what}', flush=True)
        return manifest

    def finish(self):
        self.trouble()
        self.van.wait()
        # The duty ends ten minutes after the return, in simulated time.
        patience_s = 30 + 700 / self.options.speed
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: any(kind(event) == 'route.completed' for event in self.backend.told()), patience_s, 'the summary')
        time.sleep(3)
        status = subprocess.run([AGENT, 'status', '--json', '--control', self.folder / 'control'], capture_output=True, text=True)
        self.agent.terminate()
        self.agent.wait()
        return json.loads(status.stdout) if status.returncode == 0 else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--short', action='store_true', help='half an hour of deliveries, for CI')
    parser.add_argument('--route', type=pathlib.Path)
    parser.add_argument('--speed', type=float, default=20)
    parser.add_argument('--cuts', type=int, default=4)
    parser.add_argument('--kills', type=int, default=2)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--list', action='store_true', help='print each event')
    options = parser.parse_args()
    name = 'deliveries_short.toml' if options.short else 'deliveries.toml'
    options.route = options.route or ROOT / 'config/routes' / name
    skip_without('mosquitto', 'mosquitto_sub', AGENT)
    with scope() as (stack, folder):
        plan = ['--truth', folder / 'plan', '--out', '/dev/null', *(('--seed', str(options.seed)) if options.seed else ())]
        subprocess.run([SIMULATOR, options.route, *map(str, plan)], check=True)
        options.day_s = json.loads((folder / 'plan').read_text().splitlines()[-1])['at_ms'] / 1000
        print(f'a day of {options.day_s / 3600:.1f} h in {options.day_s / options.speed:.0f} s', flush=True)
        day = Day(stack, folder, options)
        status = day.finish()
        events = day.backend.told()
        if options.list:
            for event in events:
                print(' ', event['sequence'], event['time'], kind(event), ' '.join(parcels(event))[:90])
        truth, told = true_stages(folder / 'truth.jsonl'), told_stages(events)
        wrong, late = against_truth(truth, told)
        counts = collections.Counter(kind(event) for event in events)
        print(f'  {len(events)} events: ' + ', '.join(f'{count} {what}' for what, count in sorted(counts.items())))
        print(f'  arrived {day.backend.arrived} times; one id with two contents: {len(day.backend.poison)}')
        if late:
            print(f'  departures and arrivals reported with a delay of {late[0]:.0f} to {late[-1]:.0f} s, '
                  f'p50 {late[len(late) // 2]:.0f} s')
        off = []
        for name, a, b, percent in compare(truth[2], told[2] or {}):
            print(f'  {name:13} true {a:>10}, reported {b if b is not None else "nothing":>10}'
                  + ('' if percent is None else f'  {percent:+.1f} %'))
            off.append(b is None)
        if status:
            print('  in the outbox at the end:', status['outbox']['pending'])
        for line in wrong:
            print('  WRONG', line)
        log = (folder / 'log').read_text()
        if 'panicked' in log or os.environ.get('SHOW_LOG'):
            print(log)
        if wrong or any(off) or day.backend.poison or 'panicked' in log:
            (pathlib.Path('/tmp') / 'waypost-day.log').write_text(log)
            sys.exit(1)
        print('each stage once, in order')


if __name__ == '__main__':
    main()
