"""Shared parts of the link proofs: a mosquitto that can be restarted, killed and reloaded, a wire to it that parses enough
MQTT 5 to cut, to count and to withhold PUBACKs, a backend with a permanent session, and a van that drives.
"""
import collections, contextlib, functools, json, math, operator, random, signal, socket, sqlite3, struct, threading, time

from parts import AGENT, free_port, start, wait_for

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ = 1, 2, 3, 4, 8, 9, 12


def packets(buffer):
    """Removes and returns the complete packets (MQTT 5 §2.1) at the beginning of `buffer`."""
    found = []
    while len(buffer) >= 2:
        length = shift = 0
        for place in range(1, min(5, len(buffer))):
            length |= (buffer[place] & 0x7F) << shift
            shift += 7
            if buffer[place] < 0x80:
                break
        else:
            break
        end = place + 1 + length
        if len(buffer) < end:
            break
        found.append(bytes(buffer[:end]))
        del buffer[:end]
    return found


def body(packet):
    """Returns the packet without the fixed header."""
    place = 1
    while packet[place] & 0x80:
        place += 1
    return packet[place + 1:]


def variable(number):
    data = b''
    while True:
        number, low = number >> 7, number & 0x7F
        data += bytes([low | (0x80 if number else 0)])
        if not number:
            return data


def packet(kind, flags, content):
    return bytes([kind << 4 | flags]) + variable(len(content)) + content


def text(word):
    return struct.pack('>H', len(word)) + word.encode()


def publish(packet_):
    """Returns (topic, packet identifier or 0, payload) of a PUBLISH."""
    content, qos = body(packet_), packet_[0] >> 1 & 3
    at = 2 + int.from_bytes(content[:2], 'big')
    topic, packet_id = content[2:at].decode(), 0
    if qos:
        packet_id, at = int.from_bytes(content[at:at + 2], 'big'), at + 2
    size = shift = 0
    while True:
        byte, at = content[at], at + 1
        size, shift = size | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return topic, packet_id, content[at + size:]


class Mosquitto:
    """A real mosquitto, on the same port after each restart."""

    def __init__(self, stack, folder, config=''):
        self.stack, self.folder, self.port = stack, folder, free_port()
        folder.mkdir(exist_ok=True)
        self.file = folder / 'mosquitto.conf'
        self.file.write_text(f'listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n{config}\n')
        self.process = None
        self.start()

    def start(self):
        with open(self.folder / 'mosquitto.log', 'ab') as log:
            self.process = start(self.stack, 'mosquitto', '-c', self.file, stderr=log, stdout=log)
        wait_for(lambda: socket.create_connection(('127.0.0.1', self.port)).close() or True, 10, 'mosquitto')

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()

    def reload(self):
        """Reloads the access list."""
        self.process.send_signal(signal.SIGHUP)


PERSISTENT = 'persistence true\npersistence_location {}/\nmax_queued_messages 0\n'


class Pair:
    """One connection through the wire."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        self.is_open, self.is_hole, self.budget = True, False, None
        self.is_accepted = threading.Event()

    def reset(self):
        """Resets both ends; unread data is lost."""
        self.is_open = False
        for end in (self.near, self.far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                end.shutdown(socket.SHUT_RDWR)


class Wire:
    """A TCP proxy to `target` with the faults of a mobile network. With `is_raw` (TLS), packets are not parsed."""

    def __init__(self, stack, target, is_raw=False):
        self.target, self.is_raw, self.is_away, self.withholds = target, is_raw, False, False
        self.connects, self.accepted, self.pairs = [], [], []
        self.answers, self.withheld = collections.Counter(), 0
        #: Numbers of points acknowledged by PUBACKs below 0x80; filled if `reads_tracks` is set.
        self.reads_tracks, self.acknowledged = False, set()
        self.listener = socket.create_server(('127.0.0.1', 0))
        stack.callback(self.listener.close)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.is_away:
                    raise OSError('away')
                far = socket.create_connection(('127.0.0.1', self.target))
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair, tracks = Pair(near, far), {}
            self.pairs = [one for one in self.pairs if one.is_open] + [pair]
            threading.Thread(target=self.up, args=(pair, tracks), daemon=True).start()
            threading.Thread(target=self.down, args=(pair, tracks), daemon=True).start()

    def up(self, pair, tracks):
        buffer, is_first = bytearray(), True
        with contextlib.suppress(OSError):
            while data := pair.near.recv(65536):
                if pair.budget is not None:
                    data, pair.budget = data[:pair.budget], pair.budget - len(data)
                if not self.is_raw and (is_first or self.reads_tracks):
                    buffer += data
                    for one in packets(buffer):
                        is_first = False
                        self.sent(one, tracks)
                if not pair.is_hole:
                    pair.far.sendall(data)
                if pair.budget is not None and pair.budget <= 0:
                    pair.reset()
        self.close(pair)

    def sent(self, one, tracks):
        if one[0] >> 4 == CONNECT:
            self.connects.append(time.monotonic())
        elif one[0] >> 4 == PUBLISH and one[0] & 6:
            topic, packet_id, payload = publish(one)
            if topic.endswith('/track'):
                tracks[packet_id] = [point['seq'] for point in json.loads(payload)['points']]

    def down(self, pair, tracks):
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while data := pair.far.recv(65536):
                if self.is_raw:
                    pair.near.sendall(data)
                    continue
                buffer += data
                for one in packets(buffer):
                    if self.heard(one, pair, tracks) and not pair.is_hole:
                        pair.near.sendall(one)
        self.close(pair)

    def heard(self, one, pair, tracks):
        """Returns whether to forward the packet."""
        kind, content = one[0] >> 4, body(one)
        if kind == CONNACK and content[1] == 0:
            self.accepted.append(time.monotonic())
            pair.is_accepted.set()
        if kind == PUBACK:
            if self.withholds:
                self.withheld += 1
                return False
            reason = content[2] if len(content) > 2 else 0
            self.answers[reason] += 1
            numbers = tracks.pop(int.from_bytes(content[:2], 'big'), ())
            if reason < 0x80:
                self.acknowledged.update(numbers)
        return True

    @staticmethod
    def close(pair):
        pair.is_open = False
        for end in (pair.near, pair.far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def current(self):
        """Returns the connection that the broker has accepted, if there is one."""
        return next((pair for pair in reversed(self.pairs) if pair.is_open and pair.is_accepted.is_set()), None)

    def away(self, is_away=True):
        """Makes the target unreachable and breaks existing connections."""
        self.is_away = is_away
        for pair in self.pairs if is_away else ():
            pair.reset()


class Backend:
    """Subscribes to every van with a persistent session, and records the first arrival of each point."""

    def __init__(self, stack, port, client='backend', topics=('fleet/v1/+/+',), permanent=True):
        self.port, self.client, self.topics, self.permanent = port, client, topics, permanent
        self.points = collections.defaultdict(dict)
        self.newest = collections.defaultdict(int)
        self.reordered, self.twice, self.reused, self.messages = 0, 0, 0, 0
        self.positions, self.states = collections.defaultdict(list), collections.defaultdict(list)
        self.is_here, self.is_subscribed, self.socket, self.ended = True, threading.Event(), None, False
        stack.callback(self.end)
        threading.Thread(target=self.run, daemon=True).start()
        self.is_subscribed.wait(10)

    def end(self):
        self.ended = True
        self.leave()

    def leave(self):
        self.is_here = False
        self.is_subscribed.clear()
        with contextlib.suppress(OSError, AttributeError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def come(self):
        self.is_here = True
        self.is_subscribed.wait(10)

    def run(self):
        while not self.ended:
            if self.is_here:
                with contextlib.suppress(OSError):
                    self.session()
                self.is_subscribed.clear()
            time.sleep(0.05)

    def session(self):
        with socket.create_connection(('127.0.0.1', self.port)) as self.socket:
            wire = self.socket
            expiry = b'\x11\xff\xff\xff\xff' if self.permanent else b''
            properties = expiry + b'\x21\x03\xe8'  # Receive Maximum 1000.
            wire.sendall(packet(CONNECT, 0, text('MQTT') + bytes([5, 0 if self.permanent else 2]) + b'\0\0'
                                + variable(len(properties)) + properties + text(self.client)))
            buffer = bytearray()
            while data := wire.recv(1 << 18):
                buffer += data
                for one in packets(buffer):
                    kind = one[0] >> 4
                    if kind == CONNACK:
                        filters = b''.join(text(topic) + b'\1' for topic in self.topics)
                        wire.sendall(packet(SUBSCRIBE, 2, b'\0\1\0' + filters))
                    elif kind == SUBACK:
                        self.is_subscribed.set()
                    elif kind == PUBLISH:
                        topic, packet_id, payload = publish(one)
                        self.take(topic, payload)
                        if packet_id:
                            wire.sendall(packet(PUBACK, 0, struct.pack('>H', packet_id)))

    def take(self, topic, payload):
        _, _, van, level = topic.split('/')
        self.messages += 1
        if level == 'track':
            known, newest = self.points[van], self.newest
            for point in json.loads(payload)['points']:
                lane, seq = point.pop('backlog', False), point['seq']
                said = hash(tuple(point.values()))
                if seq in known:
                    self.twice += 1
                    self.reused += known[seq] != said
                else:
                    known[seq] = said
                    self.reordered += seq < newest[van, lane]
                    newest[van, lane] = max(seq, newest[van, lane])
        elif level == 'position':
            self.positions[van].append((time.monotonic(), json.loads(payload)['ts']))
        elif level == 'state':
            self.states[van].append((time.monotonic(), json.loads(payload)))


class Drive:
    """A van that drives, turns, stops at lights and delivers, seeded; each call advances it by one second."""

    def __init__(self, seed):
        self.dice, self.lat, self.lon = random.Random(seed), 48.3, 10.9
        self.speed, self.course, self.bend, self.wanted, self.stands = 0.0, 60.0, 0.0, 12.0, 0

    def step(self):
        dice = self.dice
        if self.stands:
            self.stands -= 1
            if not self.stands:
                self.wanted = dice.uniform(6, 20)
        elif dice.random() < 0.08:
            self.bend, self.wanted = dice.choice((0, 0, 0, 4, -4, 9, -9)), dice.uniform(6, 20)
        elif dice.random() < 0.004:
            self.wanted, self.stands = 0.0, dice.choice((20, 30, 90, 240))
        self.speed += max(-2.0, min(1.5, self.wanted - self.speed))
        if self.speed:
            self.course = (self.course + self.bend * min(1.0, self.speed / 8)) % 360
            if abs(self.lat - 48.3) > 0.2 or abs(self.lon - 10.9) > 0.3:
                self.course = math.degrees(math.atan2(10.9 - self.lon, 48.3 - self.lat)) % 360
            way = math.radians(self.course)
            self.lat += self.speed * math.cos(way) / 111_195
            self.lon += self.speed * math.sin(way) / 73_970


def sentence(words):
    return f'${words}*{functools.reduce(operator.xor, words.encode()):02X}\r\n'


class Feed:
    """A receiver on TCP: `total` epochs of RMC and GGA (None: endless), `rate` per second (None: as fast as they are
    read), each sent once. `began` is the UTC of the first one. Time advances by one second per epoch, or in real time
    with `is_real`.
    """

    def __init__(self, stack, total, rate, seed=1, began=1_796_000_000, is_real=False):
        self.total, self.rate, self.began, self.is_real = total, rate, began, is_real
        self.said, self.is_quiet, self.drive = 0, False, Drive(seed)
        self.ended = threading.Event()
        self.listener = socket.create_server(('127.0.0.1', 0))
        stack.callback(self.listener.close)
        stack.callback(self.ended.set)
        self.port = self.listener.getsockname()[1]
        self.day = (None, '')
        threading.Thread(target=self.serve, daemon=True).start()

    def epoch(self):
        drive = self.drive
        drive.step()
        at = self.began + (self.said / self.rate if self.is_real else self.said)
        self.said += 1
        day, second = divmod(at, 86_400)
        if self.day[0] != day:
            self.day = (day, time.strftime('%d%m%y', time.gmtime(at)))
        clock = f'{int(second) // 3600:02d}{int(second) // 60 % 60:02d}{second % 60:05.2f}'
        # Rounded before it is split, so that a minute never reads 60.
        lat, lon = (divmod(round(degrees * 6_000_000), 6_000_000) for degrees in (drive.lat, drive.lon))
        place = f'{lat[0]:02d}{lat[1] / 1e5:08.5f},N,{lon[0]:03d}{lon[1] / 1e5:08.5f},E'
        return (sentence(f'GNRMC,{clock},A,{place},{drive.speed / 0.514444:.2f},{drive.course:.1f},{self.day[1]},,,A')
                + sentence(f'GNGGA,{clock},{place},1,10,0.9,480.0,M,47.0,M,,'))

    def serve(self):
        try:
            agent, _ = self.listener.accept()
        except OSError:
            return
        began, before = time.monotonic(), self.said
        with agent, contextlib.suppress(OSError):
            while not self.ended.is_set():
                left = 1 << 30 if self.total is None else self.total - self.said
                due = left if self.rate is None else int((time.monotonic() - began) * self.rate) + 1 - (self.said - before)
                due = min(due, left, 500)
                if self.is_quiet or due <= 0:
                    if left <= 0:
                        self.ended.wait()  # The connection stays open, because closing it would be another fault.
                    began, before = (time.monotonic(), self.said) if self.is_quiet else (began, before)
                    time.sleep(0.005 if self.rate is None or self.rate > 20 else 0.02)
                    continue
                agent.sendall(''.join(self.epoch() for _ in range(due)).encode())

    def hurry(self):
        self.rate = None


class Van:
    """The agent with its outbox, on a feed, over a wire."""

    def __init__(self, stack, folder, name, port, feed, more='', scheme='mqtt', host='127.0.0.1'):
        self.stack, self.name, self.feed, self.folder = stack, name, feed, folder / name
        self.folder.mkdir()
        self.outbox, self.log = self.folder / 'outbox.db', self.folder / 'agent.log'
        (self.folder / 'waypost.toml').write_text(
            f'van.id = "{name}"\nmqtt.broker = "{scheme}://{host}:{port}"\nmqtt.state_s = 1\n'
            f'gnss.source = "tcp:127.0.0.1:{feed.port}"\noutbox.path = "{self.outbox}"\n'
            f'outbox.tail_path = "{self.folder}/tail"\n{more}\n')
        self.start()

    def start(self):
        with open(self.log, 'ab') as log:
            self.process = start(self.stack, AGENT, 'run', '--config', self.folder / 'waypost.toml', stderr=log)

    def resident_kib(self):
        for line in open(f'/proc/{self.process.pid}/status'):
            if line.startswith('VmRSS'):
                return int(line.split()[1])

    def finish(self):
        """Sends SIGTERM; returns (exit code, rows left in the outbox, panics)."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        database = sqlite3.connect(self.outbox)
        rows = database.execute('SELECT coalesce(sum(n), 0) FROM batch').fetchone()[0]
        database.close()
        return code, rows, self.log.read_text().count('panicked')
