#!/usr/bin/env python3
"""Measures the drain of a backlog over a slow or long link, and the latency of live positions meanwhile.

    benches/drain.py [--rtt-ms 100] [--kbit-s 0] [--sampling raw] [--encoding json] [--fixes 28800] [--in-flight 20]

The agent reads simulated days while the broker is unreachable. Then the network returns, through a proxy with this round
trip and rate (0: unlimited), and the receiver continues with ten fixes per second, each of which is a live position. The
output has the time of the first position, the drain in fixes per second, and the time from the last byte of an epoch to
its position at a subscriber during the drain. Needs mosquitto. All started processes are stopped at the end.

Proxy and subscriber are separate processes; in this process they would be the bottleneck.
"""
import argparse, json, multiprocessing, os, pathlib, queue, socket, struct, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(HERE / 'benches/proof'), str(HERE / 'docs')]
from decode_track import decode
from parts import AGENT, free_port, wait_for
from wire import CONNACK, CONNECT, PUBACK, PUBLISH, SUBACK, SUBSCRIBE, packet, packets, publish, text

# Buffer of a router on a slow link; beyond it the sender waits.
ROUTER_BYTES = 65_536


class Direction(threading.Thread):
    """Forwards bytes between two sockets, delayed by `delay_s` and limited to `rate` bytes per second."""

    def __init__(self, source, target, delay_s, rate):
        super().__init__(daemon=True)
        self.source, self.target, self.delay_s, self.rate = source, target, delay_s, rate
        self.under_way = queue.Queue()
        threading.Thread(target=self.deliver, daemon=True).start()
        self.start()

    def run(self):
        free_at = 0.0
        try:
            while data := self.source.recv(1024 if self.rate else 65_536):
                now = time.monotonic()
                free_at = max(free_at, now) + (len(data) / self.rate if self.rate else 0.0)
                self.under_way.put((free_at + self.delay_s, data))
                if self.rate:
                    time.sleep(max(0.0, free_at - now - ROUTER_BYTES / self.rate))
        except OSError:
            pass
        self.under_way.put((0.0, b''))

    def deliver(self):
        try:
            while True:
                due, data = self.under_way.get()
                if not data:
                    return self.target.shutdown(socket.SHUT_WR)
                time.sleep(max(0.0, due - time.monotonic()))
                self.target.sendall(data)
        except OSError:
            pass


def link(server, port, delay_s, rate, opened):
    while True:
        near, _ = server.accept()
        opened.put(time.monotonic())
        far = socket.create_connection(('127.0.0.1', port))
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rate:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        Direction(near, far, delay_s, rate)
        Direction(far, near, delay_s, rate)


def subscribe(port, arrived):
    """Sends all messages as (time, topic, payload), four times a second."""
    wire, buffer, batch, said = socket.create_connection(('127.0.0.1', port)), bytearray(), [], 0.0
    properties = b'\x03\x21\xff\xff'  # Receive Maximum 65535.
    wire.sendall(packet(CONNECT, 0, text('MQTT') + bytes([5, 2]) + b'\0\0' + properties + text('subscriber')))
    wire.settimeout(0.1)
    while True:
        try:
            data = wire.recv(1 << 20)
        except TimeoutError:
            data = None
        if data == b'':
            return
        now = time.monotonic()
        buffer += data or b''
        for one in packets(buffer):
            if one[0] >> 4 == CONNACK:
                wire.sendall(packet(SUBSCRIBE, 2, b'\0\1\0' + text('fleet/v1/DRAIN/+') + b'\1'))
            elif one[0] >> 4 == SUBACK:
                arrived.put([])
            elif one[0] >> 4 == PUBLISH:
                topic, packet_id, payload = publish(one)
                batch.append((now, topic.rsplit('/', 1)[1], payload))
                if packet_id:
                    wire.sendall(packet(PUBACK, 0, struct.pack('>H', packet_id)))
        if batch and now - said > 0.25:
            arrived.put(batch)
            batch, said = [], now


def epochs(log):
    """Yields the sentences of each instant, by the time in RMC and GGA."""
    found, current, time_of = [], [], None
    for line in log.splitlines(keepends=True):
        if not line.startswith(b'$'):
            continue
        fields = line.split(b',', 2)
        if line[3:6] in (b'RMC', b'GGA') and fields[1] != time_of:
            if current:
                found.append(b''.join(current))
            current, time_of = [], fields[1]
        current.append(line)
    return found


def days(waypost, fixes):
    """Yields this number of epochs of consecutive city days."""
    found = []
    for day in range(1, 29):
        made = subprocess.run([pathlib.Path(waypost).with_name('waypost-sim'), HERE / 'config/routes/city.toml', '--cold-start', '0',
                               '--start', f'2026-12-{day:02d}T07:00:00Z'], check=True, capture_output=True).stdout
        found += epochs(made)
        if len(found) >= fixes:
            break
    return found[:fixes]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def points_of(payload):
    """Returns (points, points of the backlog) of a `track` message."""
    if payload[:1] == b'\xd7':
        points = decode(payload, 'DRAIN')[0]['points']
    else:
        points = json.loads(payload)['points']
    return points, bool(points[0].get('backlog'))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--waypost', default=AGENT)
    options.add_argument('--rtt-ms', type=float, default=100)
    options.add_argument('--kbit-s', type=float, default=0)
    options.add_argument('--sampling', default='raw')
    options.add_argument('--encoding', default='json')
    options.add_argument('--fixes', type=int, default=28_800)
    options.add_argument('--in-flight', type=int, default=20, help="the agent's and the broker's")
    options.add_argument('--more', default='', help='a line of configuration')
    options = options.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None))
    started = []

    def start(*command, **more):
        started.append(subprocess.Popen([str(word) for word in command], **more))
        return started[-1]

    def fork(target, *arguments):
        started.append(multiprocessing.Process(target=target, args=arguments, daemon=True))
        started[-1].start()

    try:
        measure(options, folder, start, fork)
    finally:
        for process in reversed(started):
            process.kill()
            getattr(process, 'wait', getattr(process, 'join', None))()
        subprocess.run(['rm', '-r', folder], check=False)


def measure(options, folder, start, fork):
    live_hz = 10
    day = days(options.waypost, options.fixes + 3000)
    backlog, rest = day[:options.fixes], day[options.fixes:]
    port, door, receiver = free_port(), free_port(), socket.create_server(('127.0.0.1', 0))
    (folder / 'mosquitto.conf').write_text(
        f'listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n'
        f'max_inflight_messages {options.in_flight}\n')
    start('mosquitto', '-c', folder / 'mosquitto.conf', stderr=subprocess.DEVNULL)
    wait_for(lambda: socket.create_connection(('127.0.0.1', port)).close() or True, 5, 'mosquitto')
    (folder / 'waypost.toml').write_text(f'''
van.id = "DRAIN"
mqtt.broker = "mqtt://127.0.0.1:{door}"
mqtt.position_moving_s = 0
mqtt.position_halted_s = 0
mqtt.state_s = 1
mqtt.in_flight = {options.in_flight}
gnss.source = "tcp:127.0.0.1:{receiver.getsockname()[1]}"
outbox.path = "{folder}/outbox.db"
outbox.tail_path = ""
control.path = ""
track.sampling = "{options.sampling}"
track.encoding = "{options.encoding}"
{options.more}
''')
    start(options.waypost, 'run', '--config', folder / 'waypost.toml', stderr=open(folder / 'agent.log', 'w'))
    line, _ = receiver.accept()
    for at in range(0, len(backlog), 1000):
        line.sendall(b''.join(backlog[at:at + 1000]))
    arrived, opened = multiprocessing.Queue(), multiprocessing.Queue()
    fork(subscribe, port, arrived)
    arrived.get(timeout=10)
    # All of it is in the outbox, and the outage is long enough for pauses between attempts.
    time.sleep(8 + options.fixes / 50_000)
    server = socket.create_server(('127.0.0.1', door))
    back = time.monotonic()
    fork(link, server, port, options.rtt_ms / 2000, options.kbit_s * 125, opened)
    connected, sent, messages = opened.get(timeout=60), {}, []
    for number, epoch in enumerate(rest):
        clock = next(row.split(b',')[1] for row in epoch.splitlines() if row[3:6] in (b'RMC', b'GGA'))
        line.sendall(epoch)
        sent[clock[:6].decode()] = time.monotonic()
        time.sleep(1 / live_hz)
        while not arrived.empty():
            messages += arrived.get()
        states = [json.loads(payload)['outbox']['pending'] for _, topic, payload in messages[-200:] if topic == 'state']
        # The records since then stay below the size of a batch.
        if number > 30 and states and states[-1] < 5 * live_hz:
            break
    report(options, messages, sent, connected, back)


def report(options, messages, sent, connected, back):
    drained, count, when = connected, 0, []
    for at, topic, payload in messages:
        if topic == 'track':
            points, is_backlog = points_of(payload)
            if is_backlog:
                drained, count = at, count + len(points)
                when.append((at, count, len(payload)))
    positions = {}
    for at, topic, payload in messages:
        if topic == 'position':
            positions.setdefault(json.loads(payload)['ts'][11:19].replace(':', ''), at)
    late = [at - sent[clock] for clock, at in positions.items() if clock in sent and sent[clock] < drained]
    if not when or not positions:
        sys.exit('nothing arrived')
    took, share = drained - connected, options.fixes / count
    middle = [(at, so_far) for at, so_far, _ in when if 0.2 <= so_far / count <= 0.9]
    steady = 0.0
    if len(middle) > 2 and middle[-1][0] > middle[0][0]:
        steady = share * (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])
    bytes_ = sum(size for _, _, size in when)
    print(f'{options.rtt_ms:g} ms, {options.kbit_s or "no limit of"} kbit/s, {options.sampling}, {options.encoding}, '
          f'in_flight {options.in_flight}{", " + options.more if options.more else ""}: '
          f'{options.fixes} fixes, {count} points in {len(when)} messages, {bytes_ / options.fixes:.2f} bytes a fix')
    print(f'  drained in {took:.2f} s from SYN: {options.fixes / took:.0f} fixes/s'
          + (f', {steady:.0f}/s from the fifth to the last tenth' if steady else ''))
    print(f'  first position {min(positions.values()) - connected:.2f} s after SYN, '
          f'{connected - back:.1f} s of pause before that; meanwhile '
          + (f'p50 {percentile(late, .5) * 1000:.0f} ms, p99 {percentile(late, .99) * 1000:.0f} ms, '
             f'max {max(late) * 1000:.0f} ms of {len(late)}' if late else 'none') + ', half the round trip included', flush=True)


if __name__ == '__main__':
    main()
