"""A broker, a PostgreSQL, the backend, and the rig (crates/backend/examples/backend_rig.rs), for the scripts beside this file."""
import atexit, contextlib, datetime, hashlib, json, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, threading, time
import urllib.error, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target'))
POSTGRES = next((p for p in sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin'), reverse=True)), None)


def program(profile, name):
    path = TARGET / ('debug' if profile == 'dev' else profile) / name
    if not path.exists():
        sys.exit(f'{path} does not exist: cargo build --profile {profile} -p waypost-backend --bins --example backend_rig')
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix='waypost-bench-'))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen([str(part) for part in command], **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextlib.contextmanager
def mosquitto(path, in_flight=200):
    if not shutil.which('mosquitto', path=os.environ['PATH'] + ':/usr/sbin'):
        print('skipped: mosquitto is not installed')
        sys.exit(0)
    port = free_port()
    conf = path / 'mosquitto.conf'
    conf.write_text(f'user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n'
                    f'max_inflight_messages {in_flight}\n')
    search = os.environ['PATH'] + ':/usr/sbin'
    command = [shutil.which('mosquitto', path=search), '-c', conf]
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for(lambda: connects(port), 'mosquitto')
        yield port


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
        return True
    return False


@contextlib.contextmanager
def postgres(path, fsync='on', listen=''):
    """Returns the URL of an empty database on a socket in `path`, or None if PostgreSQL is not installed. With `listen`
    its network of 24 bits may connect as well."""
    if POSTGRES is None:
        print('skipped: PostgreSQL is not installed')
        yield None
        return
    data = path / 'pg'
    data.mkdir()
    as_user = []
    if os.geteuid() == 0:
        as_user = ['runuser', '-u', 'postgres', '--']
        shutil.chown(data, 'postgres')
        path.chmod(0o755)
    quiet = dict(stdout=subprocess.DEVNULL, check=True, cwd=data)
    subprocess.run([*as_user, POSTGRES / 'initdb', '-D', data / 'data', '-U', 'waypost', '-A', 'trust', '-E', 'UTF8'],
                   **quiet)
    settings = f"unix_socket_directories = '{data}'\nlisten_addresses = '{listen}'\nfsync = {fsync}\nmax_connections = 100\n"
    with (data / 'data' / 'postgresql.conf').open('a') as conf:
        conf.write(settings)
    if listen:
        with (data / 'data' / 'pg_hba.conf').open('a') as rules:
            rules.write(f'host all all {listen}/24 trust\n')
    postgres_control(path, 'start')
    try:
        yield f"host='{data}' user=waypost dbname=postgres"
    finally:
        postgres_control(path, '-m', 'immediate', 'stop')


def postgres_control(path, *arguments):
    """Runs `pg_ctl` for the server in `path`."""
    data = path / 'pg'
    as_user = ['runuser', '-u', 'postgres', '--'] if os.geteuid() == 0 else []
    subprocess.run([*as_user, POSTGRES / 'pg_ctl', '-D', data / 'data', '-w', '-l', data / 'log', *arguments],
                   stdout=subprocess.DEVNULL, check=True, cwd=data)


def query(url, sql):
    """Returns rows of a store, as lists of texts."""
    if 'host=' in url:
        out = subprocess.run([POSTGRES / 'psql', url, '-AtF', '|', '-c', sql], capture_output=True, text=True, check=True)
        return [line.split('|') for line in out.stdout.splitlines()]
    import sqlite3
    with contextlib.closing(sqlite3.connect(f'file:{url}?mode=ro', uri=True)) as database:
        return [[str(value) for value in row] for row in database.execute(sql)]


def wait_for(is_so, what, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            sys.exit(f'no {what} within {seconds} s')
        time.sleep(0.02)


def utc(seconds=0):
    """Returns the time this number of seconds from now, in RFC 3339."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')


def row(name, waits, of):
    """Formats a line with the statistics of the delays (s) of `of` positions."""
    waits = sorted(waits)
    at = lambda part: 1000 * waits[min(len(waits) - 1, int(part * len(waits)))]
    print(f'{name}: {len(waits)} of {of} positions, p50 {at(.5):.1f} ms, p90 {at(.9):.1f} ms, p99 {at(.99):.1f} ms, '
          f'max {1000 * waits[-1]:.1f} ms', flush=True)


class Positions:
    """Time of each publication, by van and number, and the delay until subscribers received it."""

    def __init__(self):
        self.sent, self.lock = {}, threading.Lock()

    def publishes(self, position):
        with self.lock:
            self.sent[position['van'], position['seq']] = time.monotonic()

    def waits(self, listen, *arguments):
        """Delay in seconds by position, filled by `listen`, which yields positions as they arrive."""
        waits = {}

        def run():
            for position in listen(*arguments):
                now = time.monotonic()
                key = position and (position['van'], position['seq'])
                with self.lock:
                    if key in self.sent and key not in waits:
                        waits[key] = now - self.sent[key]

        threading.Thread(target=run, daemon=True).start()
        return waits


def by_stream(its):
    """Yields positions from the dispatcher's stream of a `Service`."""
    with urllib.request.urlopen(its.request('/api/v1/vans/live')) as answer:
        for line in answer:
            if line.startswith(b'data:'):
                yield json.loads(line[5:]).get('position')


def by_broker(port):
    """Yields positions as received by another subscriber of the broker."""
    command = ['mosquitto_sub', '-V', '5', '-p', str(port), '-t', 'fleet/v1/+/position']
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        # The script may end while this waits for the next message.
        atexit.register(process.kill)
        for line in process.stdout:
            yield json.loads(line)


def says(port, topic, qos=0):
    """A client of the broker that publishes each line it is given."""
    command = ['mosquitto_pub', '-V', '5', '-p', str(port), '-q', str(qos), '-l', '-t', topic]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1)


class Consumer:
    """The rig's consumer, and its last report."""

    def __init__(self, process):
        self.process, self.said, self.at = process, ['false', '0', '0', '0', '0', '0'], time.monotonic()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.said, self.at = line.split(), time.monotonic()

    def counts(self):
        return [int(value) for value in self.said[1:]]

    def peak_kib(self):
        status = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
        return int(status.split('VmHWM:')[1].split()[0])

    def cpu_s(self):
        fields = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rsplit(') ', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def consumer(rig, *arguments):
    with running([rig, *arguments], stdout=subprocess.PIPE, text=True) as process:
        its = Consumer(process)
        wait_for(lambda: its.said[0] == 'true', 'connection')
        time.sleep(0.5)
        yield its


TOKEN = 'the-benches'


class Service:
    """The whole program, as an operator runs it, with a broker and a store of its own."""

    def __init__(self, program, path, port, store):
        self.http = free_port()
        self.log = path / 'backend.log'
        self.config = path / 'backend.toml'
        if 'host=' in str(store):
            store = f"store.url = \"postgresql:///postgres?host={store.split(chr(39))[1]}&user=waypost\""
        else:
            store = f'store.path = "{store}"'
        self.config.write_text(
            f'{store}\nmqtt.broker = "mqtt://127.0.0.1:{port}"\nparcels.domain = "id.example.com"\n'
            f'http.listen = "127.0.0.1:{self.http}"\n[[token]]\nname = "benches"\nscopes = "metrics, desk, routes"\n'
            f'sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n')
        with self.log.open('w') as log:
            self.process = subprocess.Popen([program, 'run', '--config', self.config], stdout=log, stderr=log)
        self.values = {}

    def request(self, path, method='GET', body=None):
        headers = {'Authorization': f'Bearer {TOKEN}', 'Content-Type': 'application/json'}
        return urllib.request.Request(f'http://127.0.0.1:{self.http}{path}', body and json.dumps(body).encode(), headers, method=method)

    def ask(self, path):
        with contextlib.suppress(OSError):
            try:
                with urllib.request.urlopen(self.request(path), timeout=10) as answer:
                    return answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.read().decode()
        return ''

    def health(self):
        return json.loads(self.ask('/healthz') or '{}')

    def counts(self):
        """Returns the counters of the rig's consumer: events, points, messages, batches, poison."""
        for line in self.ask('/metrics').splitlines():
            if line.startswith('waypost_backend_'):
                name, value = line.split(' ')
                self.values[name.removeprefix('waypost_backend_').removesuffix('_total')] = int(value)
        return [self.values.get(name, 0) for name in ('events', 'points', 'messages', 'batches', 'poison')]

    def lines(self):
        return [line.split('Z', 1)[1].strip() for line in self.log.read_text().splitlines() if 'Z ' in line]

    peak_kib = Consumer.peak_kib
    cpu_s = Consumer.cpu_s
    kill = Consumer.kill


@contextlib.contextmanager
def service(program, path, port, store):
    its = Service(program, path, port, store)
    try:
        wait_for(lambda: its.health().get('status') == 'ok', 'health')
        yield its
    finally:
        its.kill()


def load(rig, port, vans):
    """Returns (events, points, messages, seconds until the broker had them)."""
    out = subprocess.run([rig, 'load', f'127.0.0.1:{port}', str(vans)], capture_output=True, text=True, check=True).stdout
    first, last = out.splitlines()
    events, points = map(int, first.split())
    return events, points, int(last.split()[0]), float(last.split()[3])
