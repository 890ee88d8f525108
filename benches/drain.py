#!/usr/bin/env python3
"""How fast a backlog goes out over a thin or a long link, and how long a live position takes meanwhile.

    benches/drain.py [--waypost FILE] [--rtt-ms 100] [--kbit-s 0] [--sampling raw] [--encoding json] [--live-s 20]

A simulated day is read by the agent while the broker cannot be reached. Then the network comes back, through a proxy
with this round trip and rate (0: as fast as it is), and the receiver goes on at 1 Hz. Printed: when the first position
arrived, the drain in fixes a second, and the time from the last byte of an epoch to its position at a subscriber,
while the backlog drained. Needs mosquitto and mosquitto_sub. Ends what it started.
"""
import argparse, json, pathlib, queue, socket, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent.parent


class Direction(threading.Thread):
    """Bytes from one socket to another, late by `delay_s` and no faster than `rate` bytes a second."""

    def __init__(self, source, target, delay_s, rate):
        super().__init__(daemon=True)
        self.source, self.target, self.delay_s, self.rate = source, target, delay_s, rate
        # What a router holds; beyond it the sender waits.
        self.line = queue.Queue(maxsize=64)
        threading.Thread(target=self.deliver, daemon=True).start()
        self.start()

    def run(self):
        free_at = 0.0
        try:
            while data := self.source.recv(1024):
                now = time.monotonic()
                free_at = max(free_at, now) + (len(data) / self.rate if self.rate else 0.0)
                self.line.put((free_at + self.delay_s, data))
        except OSError:
            pass
        self.line.put((0.0, b''))

    def deliver(self):
        try:
            while True:
                due, data = self.line.get()
                if not data:
                    return self.target.shutdown(socket.SHUT_WR)
                time.sleep(max(0.0, due - time.monotonic()))
                self.target.sendall(data)
        except OSError:
            pass


def serve(server, port, delay_s, rate):
    while True:
        near, _ = server.accept()
        far = socket.create_connection(('127.0.0.1', port))
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A thin link is thin because the buffers before it are finite.
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        Direction(near, far, delay_s, rate)
        Direction(far, near, delay_s, rate)


def epochs(log):
    """The sentences of each instant, by the time in RMC and GGA."""
    found, current, time_of = [], [], None
    for line in log.read_bytes().splitlines(keepends=True):
        if not line.startswith(b'$'):
            continue
        fields = line.split(b',')
        if line[3:6] in (b'RMC', b'GGA') and fields[1] != time_of:
            if current:
                found.append(b''.join(current))
            current, time_of = [], fields[1]
        current.append(line)
    return found


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--waypost', default=HERE / 'target/release/waypost')
    options.add_argument('--rtt-ms', type=float, default=100)
    options.add_argument('--kbit-s', type=float, default=0)
    options.add_argument('--sampling', default='raw')
    options.add_argument('--encoding', default='json')
    options.add_argument('--live-s', type=int, default=20)
    options = options.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    started = []

    def start(*command, **more):
        started.append(subprocess.Popen([str(word) for word in command], **more))
        return started[-1]

    try:
        measure(options, folder, start)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def measure(options, folder, start):
    log = folder / 'day.nmea'
    subprocess.run([options.waypost, 'simulate', HERE / 'config/routes/city.toml', '--out', log], check=True,
                   stderr=subprocess.DEVNULL)
    day = epochs(log)
    port, door = free_port(), free_port()
    (folder / 'mosquitto.conf').write_text(
        f'listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 100\n')
    start('mosquitto', '-c', folder / 'mosquitto.conf', stderr=subprocess.DEVNULL)
    receiver = socket.create_server(('127.0.0.1', 0))
    (folder / 'waypost.toml').write_text(f'''
van.id = "DRAIN"
mqtt.broker = "mqtt://127.0.0.1:{door}"
mqtt.position_moving_s = 0
mqtt.position_halted_s = 0
mqtt.state_s = 1
mqtt.in_flight = 100
gnss.source = "tcp:127.0.0.1:{receiver.getsockname()[1]}"
outbox.path = "{folder}/outbox.db"
outbox.tail_path = ""
control.path = ""
track.sampling = "{options.sampling}"
''' + (f'track.encoding = "{options.encoding}"\n' if options.encoding != 'json' else ''))
    start(options.waypost, 'run', '--config', folder / 'waypost.toml', stderr=open(folder / 'agent.log', 'w'))
    line, _ = receiver.accept()
    live = options.live_s
    line.sendall(b''.join(day[:-live]))

    arrived, pending = {}, []
    time.sleep(0.5)
    subscriber = start('mosquitto_sub', '-p', port, '-t', 'fleet/v1/DRAIN/position', '-t', 'fleet/v1/DRAIN/state',
                       '-F', '%t %p', stdout=subprocess.PIPE)

    def listen():
        for row in subscriber.stdout:
            topic, payload = row.split(b' ', 1)
            message, now = json.loads(payload), time.monotonic()
            if topic.endswith(b'position'):
                arrived.setdefault(message['ts'], now)
            else:
                pending.append((now, message['outbox']['pending']))

    threading.Thread(target=listen, daemon=True).start()
    time.sleep(4)
    server = socket.create_server(('127.0.0.1', door))
    back = time.monotonic()
    threading.Thread(target=serve, args=(server, port, options.rtt_ms / 2000, options.kbit_s * 125),
                     daemon=True).start()
    sent = {}
    for epoch in day[-live:]:
        line.sendall(epoch)
        clock = next(row.split(b',')[1] for row in epoch.splitlines() if row[3:6] in (b'RMC', b'GGA'))
        sent[clock[:6].decode()] = time.monotonic()
        time.sleep(1)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (pending and pending[-1][1] < live + 5):
        time.sleep(0.05)

    if not pending:
        sys.exit('nothing arrived: ' + (folder / 'agent.log').read_text()[-400:])
    backlog = pending[0][1]
    drained = next((at for at, waiting in pending if waiting < live + 5), None)
    latencies = [at - sent[ts[11:19].replace(':', '')] for ts, at in arrived.items()
                 if ts[11:19].replace(':', '') in sent]
    print(f'round trip {options.rtt_ms:g} ms, {options.kbit_s or "no limit of"} kbit/s, {options.sampling}, '
          f'{options.encoding}; backlog {backlog} points of {len(day) - live} fixes')
    print(f'first position {min(arrived.values()) - back:.2f} s after the network was back (attempts pause up to 5 s)')
    if drained:
        took = drained - pending[0][0]
        print(f'backlog gone within {took:.1f} s of the first word (seen once a second): '
              f'at least {backlog / max(took, 1.0):.0f} points/s')
    else:
        print(f'backlog not gone: {pending[-1][1]} left')
    during = [late for late in latencies]
    print(f'last byte -> position: p50 {percentile(during, .5) * 1000:.0f} ms, p99 {percentile(during, .99) * 1000:.0f} ms '
          f'of {len(during)}, half the round trip included')


if __name__ == '__main__':
    main()
