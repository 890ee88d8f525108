"""The stages of broker.py: each has its own broker, wire and agent, and one fault."""
import contextlib, datetime, signal, socket, subprocess, threading, time

from parts import free_port, wait_for
from wire import CONNACK, CONNECT, PERSISTENT, Backend, Feed, Mosquitto, Van, Wire, packet, text

RAW = 'track.sampling = "raw"\n'


class Failed(Exception):
    """A violated guarantee."""


def promise(kept, what):
    if not kept:
        raise Failed(what)


def account(van, backend):
    """Ends the van; returns (numbers assigned, arrived, lost, left in the outbox, panics). Each number from 1 on is a fix's."""
    code, left, panics = van.finish()
    time.sleep(0.5)
    arrived = set(backend.points[van.name])
    given = max(arrived, default=0)
    lost = given - len(arrived)
    promise(code == 0 and not panics, f'{van.name}: exit {code}, {panics} panics')
    return given, len(arrived), lost, left, panics


def settled(van, backend, patience_s, what='all points'):
    """Waits until everything that was sent has arrived."""
    wait_for(lambda: len(backend.points[van.name]) >= van.feed.said, patience_s, f'{van.name}: {what}')


def pending(backend, van):
    states = backend.states[van.name]
    return states[-1][1]['outbox']['pending'] if states else 0


def acl(stack, folder, options, rows):
    rules = folder / 'acl'
    denied = 'user backend\ntopic read #\npattern write fleet/v1/%u/position\npattern write fleet/v1/%u/state\n' \
             'topic read #\npattern write fleet/v1/%u/connection\n'
    rules.write_text('topic read #\n' + denied)
    rules.chmod(0o644)
    # With max_queued_messages 0, mosquitto 2.0.11 also disconnects rejected clients.
    broker = Mosquitto(stack, folder / 'broker', f'acl_file {rules}\nmax_queued_messages 100000')
    backend, wire = Backend(stack, broker.port), Wire(stack, broker.port)
    feed = Feed(stack, None, 20)
    van = Van(stack, folder, 'ACL', wire.port, feed, RAW + 'mqtt.username = "ACL"')
    time.sleep(8 if options.short else 60)
    before, refused = len(backend.points['ACL']), wire.answers[0x87]
    promise(not before, f'{before} points arrived although rejected')
    promise(refused, 'no publish was rejected')
    held, said = pending(backend, van), feed.said
    # `state` is a second old.
    promise(held >= said - 45, f'{held} in the outbox of {said}')
    rules.write_text('topic read #\n' + denied + 'pattern write fleet/v1/%u/track\n')
    broker.reload()
    allowed = time.monotonic()
    wait_for(lambda: backend.points['ACL'], 320, 'the first point')
    first = time.monotonic() - allowed
    feed.is_quiet = True
    settled(van, backend, 60)
    whole = time.monotonic() - allowed
    given, arrived, lost, left, _ = account(van, backend)
    rows.append([('fixes', feed.said), ('refused messages', refused), ('held meanwhile', held), ('arrived meanwhile', before),
                 ('first after', f'{first:.1f} s'), ('all after', f'{whole:.1f} s'), ('lost', lost), ('left', left),
                 ('positions meanwhile', len(backend.positions['ACL'])), ('connections', len(wire.accepted))])
    promise(not (lost or left) and given == feed.said, 'lost or left')
    promise(len(wire.accepted) == 1, 'the link was cut')


def nobody(stack, folder, options, rows):
    broker = Mosquitto(stack, folder / 'broker', 'max_queued_messages 0')
    wire = Wire(stack, broker.port)
    feed = Feed(stack, None, 20)
    van = Van(stack, folder, 'NOBODY', wire.port, feed, RAW + 'mqtt.require_subscriber = true')
    time.sleep(8 if options.short else 60)
    unheard, accepted = wire.answers[0x10], feed.said
    backend = Backend(stack, broker.port)
    feed.is_quiet = True
    settled(van, backend, 320)
    given, arrived, lost, left, _ = account(van, backend)
    rows.append([('fixes', feed.said), ('before the first subscription', accepted), ('answers 0x10', unheard), ('lost', lost),
                 ('left', left)])
    promise(unheard, 'the broker did not send 0x10')
    promise(not (lost or left) and given == feed.said, 'lost or left')


def queue(stack, folder, options, rows):
    """mosquitto gives the same response for a dropped publish and for a stored one."""
    broker = Mosquitto(stack, folder / 'broker', 'max_queued_messages 5\nmax_inflight_messages 5')
    backend, wire = Backend(stack, broker.port), Wire(stack, broker.port)
    wire.reads_tracks = True
    feed = Feed(stack, None, 50)
    backend.leave()
    van = Van(stack, folder, 'QUEUE', wire.port, feed,
              RAW + 'mqtt.require_subscriber = true\ntrack.batch_points = 10\ntrack.batch_s = 0.2')
    time.sleep(10 if options.short else 60)
    feed.is_quiet = True
    time.sleep(2)
    backend.come()
    time.sleep(3)
    wait_for(lambda: len(wire.acknowledged) >= feed.said, 60, 'PUBACKs')
    answers = dict(wire.answers)
    code, left, panics = van.finish()
    arrived = set(backend.points['QUEUE'])
    numbered = set(range(1, feed.said + 1))
    unknowable, ours = len(wire.acknowledged - arrived), numbered - arrived - wire.acknowledged
    rows.append([('fixes', feed.said), ('arrived', len(arrived)), ('lost by the agent', len(ours)),
                 ('acknowledged and dropped by the broker', unknowable), ('left', left),
                 ('answers', ', '.join(f'0x{reason:02X}: {count}' for reason, count in sorted(answers.items())))])
    promise(code == 0 and not panics and not ours and not left, 'the agent lost records')


def killed(stack, folder, options, rows):
    broker = Mosquitto(stack, folder / 'broker', PERSISTENT.format(folder / 'broker') + 'autosave_interval 1800\n')
    backend, wire = Backend(stack, broker.port), Wire(stack, broker.port)
    # The session itself is saved; later messages are not.
    broker.end()
    broker.start()
    backend.come()
    backend.leave()
    wire.reads_tracks = True
    feed = Feed(stack, None, 50)
    van = Van(stack, folder, 'KILLED', wire.port, feed, RAW + 'track.batch_s = 0.2')
    time.sleep(6)
    broker.end(signal.SIGKILL)
    time.sleep(0.5)
    broker.start()
    backend.come()
    feed.is_quiet = True
    wait_for(lambda: len(wire.acknowledged) >= feed.said, 60, 'PUBACKs')
    time.sleep(2)
    code, left, panics = van.finish()
    arrived = set(backend.points['KILLED'])
    broken, ours = len(wire.acknowledged - arrived), set(range(1, feed.said + 1)) - arrived - wire.acknowledged
    rows.append([('fixes', feed.said), ('arrived', len(arrived)), ('lost by the agent', len(ours)),
                 ('acknowledged and forgotten by the broker', broken), ('left', left)])
    promise(code == 0 and not panics and not ours and not left, 'the agent lost records')
    promise(broken, 'no record was lost: this test would not detect a loss')


def fight(port, seconds):
    """Two clients with one identifier that reconnect at once; returns the number of accepted connections."""
    count, ended = [0, 0], threading.Event()

    def client(number):
        hello = packet(CONNECT, 0, text('MQTT') + b'\5\2\0\0' + b'\0' + text('control'))
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 1) as wire:
                wire.settimeout(0.5)
                wire.sendall(hello)
                while data := wire.recv(4096):
                    count[number] += data[0] >> 4 == CONNACK
                    if ended.is_set():
                        break

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    ended.wait(seconds)
    ended.set()
    for thread in threads:
        thread.join()
    return sum(count)


def twin(stack, folder, options, rows):
    """mosquitto 2.0.11 does not send 0x8E (session taken over); a client only sees that its connections end soon."""
    seconds = 30 if options.short else 300
    broker = Mosquitto(stack, folder / 'broker', 'max_queued_messages 0')
    backend = Backend(stack, broker.port)
    wires = [Wire(stack, broker.port) for _ in range(2)]
    feeds = [Feed(stack, None, 5, began=1_796_000_000 + 100_000 * number) for number in range(2)]
    one = Van(stack, folder, 'TWIN', wires[0].port, feeds[0], RAW)
    wait_for(wires[0].current, 10, 'the first one')
    time.sleep(2)
    (folder / 'other').mkdir()
    other = Van(stack, folder / 'other', 'TWIN', wires[1].port, feeds[1], RAW)
    time.sleep(seconds)
    connects = [len(wire.connects) for wire in wires]
    a_minute = 60 * sum(connects) / seconds
    control = fight(broker.port, 5) * 12
    other.process.send_signal(signal.SIGTERM)
    other.process.wait(20)
    if not options.short:
        # The disconnected agent reconnects by itself.
        wait_for(wires[0].current, 320, 'the first one again')
    one.process.send_signal(signal.SIGTERM)
    code = one.process.wait(20)
    rows.append([('seconds', seconds), ('connections', ' and '.join(map(str, connects))), ('a minute', f'{a_minute:.1f}'),
                 ('of two clients that fight', control)])
    promise(code == 0, f'exit {code}')
    promise(all(connects) and a_minute <= (24 if options.short else 12), 'they fight')
    promise(control > 10 * a_minute, 'the control does not fight')


def withheld(stack, folder, options, rows):
    seconds, timeout = (15, 3) if options.short else (300, 30)
    broker = Mosquitto(stack, folder / 'broker', 'max_queued_messages 0')
    backend, wire = Backend(stack, broker.port), Wire(stack, broker.port)
    feed = Feed(stack, None, 20)
    van = Van(stack, folder, 'WITHHELD', wire.port, feed, RAW + f'mqtt.ack_timeout_s = {timeout}\ntrack.batch_s = 0.5')
    wait_for(lambda: len(backend.points['WITHHELD']) > 50, 20, 'a good beginning')
    time.sleep(1)
    wire.withholds, before = True, len(wire.connects)
    held_from = pending(backend, van)
    time.sleep(seconds)
    renewed, waiting = len(wire.connects) - before, pending(backend, van)
    wire.withholds = False
    feed.is_quiet = True
    settled(van, backend, 120)
    wait_for(lambda: pending(backend, van) == 0, 90, 'an empty outbox')
    given, arrived, lost, left, _ = account(van, backend)
    rows.append([('seconds', seconds), ('ack_timeout_s', timeout), ('connections renewed', renewed),
                 ('PUBACKs withheld', wire.withheld), ('pending before, in the end', f'{held_from}, {waiting}'),
                 ('fixes', feed.said), ('lost', lost), ('left', left), ('came twice', backend.twice),
                 ('duplicates after deduplication', backend.reused)])
    promise(renewed, 'the connection was not renewed')
    # `state` is as old as the last connection.
    promise(waiting >= seconds * 20 / 2, f'only {waiting} pending: removed without PUBACK?')
    promise(not (lost or left or backend.reused) and given == feed.said, 'lost or left')


def certificates(folder):
    """Creates an authority in `folder`, and a function that certifies the broker for a period in UTC."""
    run = lambda *words: subprocess.run(['openssl', *map(str, words)], check=True, cwd=folder, capture_output=True)
    folder.mkdir()
    (folder / 'index.txt').write_text('')
    (folder / 'serial').write_text('1000\n')
    (folder / 'ca.cnf').write_text(
        '[ca]\ndefault_ca=own\n[own]\ndir=.\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n'
        'policy=any\nunique_subject=no\ncopy_extensions=copy\n[any]\ncommonName=supplied\n')
    curve = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes')
    run('req', '-x509', *curve, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=fleet', '-days', 7300,
        '-addext', 'basicConstraints=critical,CA:TRUE')
    run('req', *curve, '-keyout', 'broker.key', '-out', 'broker.csr', '-subj', '/CN=localhost',
        '-addext', 'subjectAltName=DNS:localhost')

    def certify(begin, end):
        stamps = [datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime('%Y%m%d%H%M%SZ') for at in (begin, end)]
        run('ca', '-batch', '-config', 'ca.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key', '-in', 'broker.csr',
            '-out', 'broker.new', '-startdate', stamps[0], '-enddate', stamps[1], '-notext')
        (folder / 'broker.new').rename(folder / 'broker.pem')

    return certify


def secured(stack, folder, begin, end):
    """A mosquitto with TLS for the van and without for the backend: (broker, backend, wire, certify, keys)."""
    keys, plain = folder / 'keys', free_port()
    certify = certificates(keys)
    certify(begin, end)
    broker = Mosquitto(stack, folder / 'broker',
                       f'cafile {keys}/ca.pem\ncertfile {keys}/broker.pem\nkeyfile {keys}/broker.key\n'
                       f'max_queued_messages 0\nlistener {plain} 127.0.0.1')
    return broker, Backend(stack, plain), Wire(stack, broker.port, is_raw=True), certify, keys


DAY = 86_400


def expired(stack, folder, options, rows):
    # The receiver reports a day a year ahead; by the host's clock the certificate is valid.
    receiver = int(time.time()) + 365 * DAY
    broker, backend, wire, certify, keys = secured(stack, folder, time.time() - DAY, receiver - DAY)
    feed = Feed(stack, None, 5, began=receiver, is_real=True)
    wire.is_away = True
    van = Van(stack, folder, 'EXPIRED', wire.port, feed, RAW + f'mqtt.ca_file = "{keys}/ca.pem"', 'mqtts', 'localhost')
    time.sleep(15)
    wire.away(False)
    broker_log = folder / 'broker/mosquitto.log'
    wait_for(lambda: 'certificate expired' in broker_log.read_text(), 60, 'a rejection with its reason')
    refused, arrived_before = time.monotonic(), len(backend.points['EXPIRED'])
    certify(time.time() - DAY, receiver + 90 * DAY)
    broker.reload()
    wait_for(lambda: backend.points['EXPIRED'], 330, 'the renewed certificate')
    back = time.monotonic() - refused
    feed.is_quiet = True
    settled(van, backend, 60)
    given, arrived, lost, left, _ = account(van, backend)
    rows.append([('fixes', feed.said), ('arrived while expired', arrived_before), ('back after', f'{back:.0f} s'),
                 ('lost', lost), ('left', left)])
    promise(not arrived_before, 'the expired certificate was accepted')
    promise(not (lost or left) and given == feed.said, 'lost or left')


def early(stack, folder, options, rows):
    # Later than the host, because a certificate that starts after the host's time is rejected anyway.
    receiver = int(time.time()) + 100 * DAY
    begin = receiver + 14
    broker, backend, wire, certify, keys = secured(stack, folder, begin, begin + 90 * DAY)
    feed = Feed(stack, None, 5, began=receiver, is_real=True)
    van = Van(stack, folder, 'EARLY', wire.port, feed, RAW + f'mqtt.ca_file = "{keys}/ca.pem"', 'mqtts', 'localhost')
    time.sleep(13)
    before = len(backend.points['EARLY'])
    wait_for(lambda: backend.points['EARLY'], 60, 'the certificate to begin')
    feed.is_quiet = True
    settled(van, backend, 60)
    given, arrived, lost, left, _ = account(van, backend)
    rows.append([('fixes', feed.said), ('arrived before', before), ('lost', lost), ('left', left)])
    promise(not before and 'not valid yet' in van.log.read_text(), 'it was accepted too early')
    promise(not (lost or left) and given == feed.said, 'lost or left')
