#!/usr/bin/env python3
"""Measures receiver -> pty -> waypost run -> mosquitto -> mosquitto_sub, on this machine and in real time.

    benches/end_to_end.py [--seconds 600] [--baud 9600] [--rate 1] [--receiver ublox-m8] [--faults]

A tap between the simulated receiver's pty and the agent's records the time of the last byte of each epoch, and the
subscriber records the arrival of that epoch's `position`. The output has the latency between them, the completeness of
`track` (each seq once, none missing), and memory and CPU of the agent.

--faults: after a third of the run, mosquitto is stopped for 120 s (or a fifth of the run, if that is less), the agent is
killed with -9 in the middle of that, and a small proxy cuts the link for 5 s while the backlog drains.

Needs Python 3, mosquitto and mosquitto_sub, and target/release/waypost (cargo build --release).
"""
import argparse, json, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, threading, time, tty

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument('--seconds', type=int, default=600)
arguments.add_argument('--baud', type=int, default=9600)
arguments.add_argument('--rate', type=int, default=1)
arguments.add_argument('--receiver', default='ublox-m8')
arguments.add_argument('--faults', action='store_true')
arguments.add_argument('--waypost', default=str(pathlib.Path(__file__).parent.parent / 'target/release/waypost'))
options = arguments.parse_args()
root = pathlib.Path(__file__).parent.parent
folder = pathlib.Path(tempfile.mkdtemp(prefix='waypost-bench-'))
processes = []


def start(*command, **keywords):
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, **keywords)
    processes.append(process)
    return process


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Proxy:
    """Forwards TCP until it is cut."""

    def __init__(self, target):
        self.target, self.cut, self.pairs, self.bytes_up = target, False, [], 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                if self.cut:
                    raise OSError('cut')
                far = socket.create_connection(('127.0.0.1', self.target))
            except OSError:
                near.close()
                continue
            self.pairs.append((near, far))
            for source, sink, up in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.pump, args=(source, sink, up), daemon=True).start()

    def pump(self, source, sink, up):
        try:
            while data := source.recv(65536):
                if up:
                    self.bytes_up += len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut_for(self, seconds):
        self.cut = True
        for pair in self.pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs.clear()
        time.sleep(seconds)
        self.cut = False


class Tap:
    """Copies the receiver's pty to another, and records the time when each epoch is complete."""

    def __init__(self, source):
        self.complete = {}
        self.source = os.open(source, os.O_RDONLY | os.O_NOCTTY)
        tty.setraw(self.source)
        self.near, far = os.openpty()
        tty.setraw(self.near)
        tty.setraw(far)
        self.path = os.ttyname(far)
        threading.Thread(target=self.copy, daemon=True).start()

    def copy(self):
        time_of_day, rest = None, b''
        while True:
            try:
                data = os.read(self.source, 4096)
            except OSError:  # The receiver has been switched off.
                return
            os.write(self.near, data)
            now = time.time()
            *lines, rest = (rest + data).split(b'\n')
            for line in lines:
                fields = line.split(b',')
                if fields[0][3:6] in (b'RMC', b'GGA') and len(fields) > 1 and fields[1]:
                    time_of_day = fields[1].decode()[:9]
                if time_of_day:
                    self.complete[time_of_day] = now


def resident_kib(pid):
    for line in open(f'/proc/{pid}/status'):
        if line.startswith('VmRSS'):
            return int(line.split()[1])


def cpu_s(pid):
    fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def main():
    mosquitto = shutil.which('mosquitto', path=os.environ['PATH'] + ':/usr/sbin')
    broker_port = free_port()
    (folder / 'mosquitto.conf').write_text(
        f'listener {broker_port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n'
        f'persistence true\npersistence_location {folder}/\nautosave_interval 1\nuser root\n')

    def broker():
        process = start(mosquitto, '-c', folder / 'mosquitto.conf', stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        return process

    mosquitto_process = broker()
    proxy = Proxy(broker_port)
    utc = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
    start(pathlib.Path(options.waypost).with_name('waypost-sim'), root / 'config/routes/rural.toml', '--receiver', options.receiver,
          '--rate', options.rate, '--cold-start', 5, '--start', utc, '--baud', options.baud,
          '--duration', options.seconds, '--pty', folder / 'receiver', stderr=subprocess.DEVNULL)
    while not (folder / 'receiver').exists():
        time.sleep(0.01)
    tap = Tap(folder / 'receiver')
    (folder / 'waypost.toml').write_text(
        f'van.id = "BENCH"\nmqtt.broker = "mqtt://127.0.0.1:{proxy.port}"\nmqtt.position_moving_s = 0\n'
        f'mqtt.position_halted_s = 0\ngnss.source = "serial:{tap.path}"\ngnss.baud = {options.baud}\n'
        f'outbox.path = "{folder}/outbox.db"\ntrack.sampling = "raw"\n')
    agent = start(options.waypost, 'run', '--config', folder / 'waypost.toml',
                  stderr=open(folder / 'agent.log', 'a'))

    positions, seqs, order = {}, {}, []
    stop = threading.Event()

    def subscribe():
        while not stop.is_set():
            sub = start('mosquitto_sub', '-p', broker_port, '-V', 5, '-q', 1, '-i', 'bench', '-c', '-x', 3600,
                        '-t', 'fleet/v1/BENCH/#', '-F', '%t %p', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for line in sub.stdout:
                now = time.time()
                topic, payload = line.decode().split(' ', 1)
                if topic.endswith('/position'):
                    at = json.loads(payload)['ts']
                    positions.setdefault(at[11:13] + at[14:16] + at[17:22], now)
                elif topic.endswith('/track'):
                    for point in json.loads(payload)['points']:
                        seqs[point['seq']] = seqs.get(point['seq'], 0) + 1
                        order.append(point['seq'])
            time.sleep(0.2)

    threading.Thread(target=subscribe, daemon=True).start()
    began, cpu_before_kill = time.time(), 0.0
    if options.faults:
        away = min(120, options.seconds // 5)
        time.sleep(options.seconds / 3)
        print(f'mosquitto stopped for {away} s, agent killed with -9 in between')
        mosquitto_process.terminate()
        mosquitto_process.wait()
        time.sleep(away / 2)
        cpu_before_kill = cpu_s(agent.pid)
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        agent = start(options.waypost, 'run', '--config', folder / 'waypost.toml',
                      stderr=open(folder / 'agent.log', 'a'))
        time.sleep(away / 2)
        mosquitto_process = broker()
        before = len(order)
        while len(order) == before:
            time.sleep(0.002)
        print(f'link cut for 5 s while the backlog drains ({len(order) - before} of it had arrived)')
        proxy.cut_for(5)
    while time.time() - began < options.seconds + 2:
        time.sleep(0.5)
    resident = resident_kib(agent.pid)
    cpu = cpu_before_kill + cpu_s(agent.pid)
    time.sleep(13)
    agent.terminate()
    print('agent exit', agent.wait(), 'after SIGTERM')
    time.sleep(1)
    stop.set()

    latencies = sorted(positions[at] - tap.complete[at] for at in positions if at in tap.complete)
    at = lambda share: f'{latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000:.1f} ms'
    runs = {}
    for seq in sorted(seqs):
        runs.setdefault((seq - 1) // 10_000, []).append(seq)
    missing = sum(run[-1] - run[0] + 1 - len(run) for run in runs.values())
    starts = [run[0] - (index * 10_000 + 1) for index, run in runs.items()]
    print(f'epochs on the line {len(tap.complete)}, positions {len(positions)}')
    print(f'last byte -> position: p50 {at(0.5)}, p99 {at(0.99)}, max {at(1)}')
    print(f'track: {len(seqs)} points in {len(runs)} run(s), missing {missing + sum(starts)}, '
          f'duplicates {sum(times - 1 for times in seqs.values())}')
    print(f'agent: {resident} KiB resident, {1000 * cpu / max(1, len(tap.complete)):.2f} ms CPU an epoch, '
          f'{proxy.bytes_up} bytes up')
    return 1 if missing + sum(starts) else 0


try:
    code = main()
finally:
    for process in processes:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
sys.exit(code)
