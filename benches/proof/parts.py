"""Shared parts of the proofs: loop devices and mounts that are removed at the end, a block device that logs all writes,
a broker, a receiver, a subscriber. Python 3 and Linux; most of it needs root.

One `contextlib.ExitStack` undoes everything, also after a failure, Ctrl-C and SIGTERM.
"""
import contextlib, ctypes, fcntl, json, math, mmap, os, pathlib, shutil, signal, socket, struct, subprocess, sys, tempfile
import threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')) / 'release'
RIG, AGENT, SIMULATOR = TARGET / 'examples/outbox_rig', TARGET / 'waypost', TARGET / 'waypost-sim'
os.environ['PATH'] += ':/usr/sbin:/sbin'

LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LOOP_CLR_FD = 0x4C82, 0x4C0A, 0x4C01  # linux/loop.h
MS_RDONLY, MS_REMOUNT, MS_NOATIME, MNT_DETACH = 1, 32, 1024, 2  # sys/mount.h
EBUSY = 16
MARKS = 1 << 20  # Area behind the file system for marks in the log of writes.
libc = ctypes.CDLL(None, use_errno=True)


def missing(*parts):
    """Returns the missing requirements: 'root', 'loop', 'fuse', or a binary."""
    def there(part):
        if part == 'root':
            return os.geteuid() == 0
        if part in ('loop', 'fuse'):
            return os.access({'loop': '/dev/loop-control', 'fuse': '/dev/fuse'}[part], os.R_OK | os.W_OK)
        return shutil.which(str(part)) is not None
    return [str(part) for part in parts if not there(part)]


def skip_without(*parts):
    """If something is missing, prints one line and ends the script with success."""
    if absent := missing(*parts):
        name = pathlib.Path(sys.argv[0]).name
        print(f'skipped: {name}: missing here: {", ".join(absent)}'
              + ('' if RIG.exists() else ' (cargo build --release -p waypost --bins --example outbox_rig)'))
        sys.exit(0)


@contextlib.contextmanager
def scope():
    """Yields a stack of cleanups, and a folder in memory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        base = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        folder = pathlib.Path(tempfile.mkdtemp(prefix='waypost-proof-', dir=base))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield stack, folder


def start(stack, *command, **keywords):
    """A process that is killed in the end."""
    keywords.setdefault('stdin', subprocess.DEVNULL)
    process = subprocess.Popen([str(word) for word in command], **keywords)

    def end():
        if process.poll() is None:
            process.kill()
        process.wait()
    stack.callback(end)
    return process


def mount(device, folder, kind, flags=0, options=''):
    if libc.mount(str(device).encode(), str(folder).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f'mount {device}: {os.strerror(number)}')


def unmount(folder, patience_s=5.0):
    """Unmounts in the end, also while files are open."""
    deadline = time.monotonic() + patience_s
    while libc.umount2(str(folder).encode(), 0):
        if ctypes.get_errno() != EBUSY or time.monotonic() > deadline:
            libc.umount2(str(folder).encode(), MNT_DETACH)
            return
        time.sleep(0.005)


def close(handle):
    with contextlib.suppress(OSError):
        os.close(handle)


class Loop:
    """A loop device on a file."""

    def __init__(self, path):
        with open('/dev/loop-control', 'rb+', buffering=0) as control:
            for _ in range(100):
                self.number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
                self.device = f'/dev/loop{self.number}'
                backing, self.handle = os.open(path, os.O_RDWR), os.open(self.device, os.O_RDWR)
                try:
                    fcntl.ioctl(self.handle, LOOP_CONFIGURE, struct.pack('<II', backing, 0).ljust(304, b'\0'))
                    return
                except OSError as error:
                    os.close(self.handle)
                    if error.errno != EBUSY:
                        raise
                finally:
                    os.close(backing)
        raise OSError('no free loop device')

    def close(self):
        """A second call has no effect, and errors of a removed disk are ignored."""
        handle, self.handle = self.handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(handle, LOOP_CLR_FD)
            close(handle)

    def written(self):
        """Returns (bytes, flushes) written to the device, as counted by the kernel (Documentation/block/stat.rst)."""
        fields = pathlib.Path(f'/sys/block/loop{self.number}/stat').read_text().split()
        return int(fields[6]) * 512, int(fields[15]) if len(fields) > 15 else 0


def ext4(stack, folder, name, mib, block=4096, options='commit=60', marks=0):
    """Creates an ext4 on a loop device on a file in `folder`: (loop, mount point)."""
    image, place = folder / f'{name}.img', folder / name
    make_ext4(image, mib, block, marks)
    place.mkdir()
    loop = Loop(image)
    stack.callback(loop.close)
    mount(loop.device, place, 'ext4', MS_NOATIME, options)
    stack.callback(unmount, place)
    return loop, place


def make_ext4(image, mib, block=4096, marks=0):
    with open(image, 'wb') as file:
        file.truncate((mib << 20) + marks)
    # One block group and a small journal, with a second super block for e2fsck.
    groups = ['-J', 'size=4', '-g', '1024'] if block == 4096 else ['-J', 'size=4']
    subprocess.run(['mkfs.ext4', '-q', '-F', '-b', str(block), *groups, '-E', 'lazy_itable_init=0,lazy_journal_init=0',
                    str(image), str((mib << 20) // block)], check=True)


class Recorder:
    """ext4 on a loop device on the FUSE export of qemu's `blklogwrites`. Every write and flush that reaches the device is
    logged in order, with the marks of the script in between. `daemon` may be stopped (a disk that hangs) or killed (a
    removed disk).
    """

    def __init__(self, stack, folder, mib=16, options='commit=60,errors=remount-ro'):
        folder.mkdir(exist_ok=True)
        self.mib, self.bytes = mib, mib << 20
        self.disk, self.log, self.base = folder / 'disk.img', folder / 'log.img', folder / 'base.img'
        export, self.place = folder / 'export.img', folder / 'mounted'
        make_ext4(self.disk, mib, marks=MARKS)
        shutil.copyfile(self.disk, self.base)
        with open(self.log, 'wb') as file:
            file.truncate(16 << 30)  # Sparse.
        export.touch()
        self.place.mkdir()
        self.daemon = start(
            stack, 'qemu-storage-daemon',
            '--blockdev', f'driver=file,filename={self.disk},node-name=disk',
            '--blockdev', f'driver=file,filename={self.log},node-name=log',
            '--blockdev', 'driver=blklogwrites,file=disk,log=log,log-sector-size=512,node-name=top',
            '--export', f'type=fuse,id=export,node-name=top,mountpoint={export},writable=on')
        stack.callback(libc.umount2, str(export).encode(), MNT_DETACH)
        deadline = time.monotonic() + 10
        while export.stat().st_size != self.bytes + MARKS:
            if time.monotonic() > deadline or self.daemon.poll() is not None:
                raise RuntimeError('qemu-storage-daemon does not export its disk')
            time.sleep(0.01)
        self.loop = Loop(export)
        stack.callback(self.loop.close)
        self.marks = os.open(export, os.O_RDWR | os.O_DIRECT)
        stack.callback(close, self.marks)
        self.sector = mmap.mmap(-1, 512)
        mount(self.loop.device, self.place, 'ext4', MS_NOATIME, options)
        stack.callback(unmount, self.place)

    def mark(self, kind, first=0, second=0):
        """Appends a mark to the log."""
        packed = struct.pack('<4sqqq', b'MARK', ord(kind), first, second)
        self.sector[:len(packed)] = packed
        os.pwritev(self.marks, [self.sector], self.bytes)

    def finish(self):
        """Unmounts, so that the log is complete."""
        unmount(self.place)
        self.loop.close()
        os.fsync(self.marks)
        self.daemon.terminate()
        self.daemon.wait()


def read_log(path, disk_bytes):
    """Yields the entries of a log in the format of dm-log-writes: ('W', offset, length, place in the log), ('F',),
    ('M', kind, first, second).
    """
    flush, discard, entries = 1, 4, []
    with open(path, 'rb') as log:
        magic, _, _, sector = struct.unpack('<QQQI', log.read(28))
        assert magic == 0x6A736677736872, 'a log of writes'
        at = sector
        while True:
            log.seek(at)
            head = log.read(32)
            if len(head) < 32:
                break
            first, count, flags, _ = struct.unpack('<QQQQ', head)
            at += sector
            if count == 0 and flags == 0:
                break
            if flags & flush:
                entries.append(('F',))
            elif first * 512 >= disk_bytes and not flags & discard:
                log.seek(at)
                _, kind, one, two = struct.unpack('<4sqqq', log.read(28))
                entries.append(('M', chr(kind), one, two))
            elif not flags & discard:
                entries.append(('W', first * 512, count * 512, at))
            if not flags & discard:
                at += count * sector
    return entries


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Broker:
    """A mosquitto without queue limits, behind a wire that can be cut."""

    def __init__(self, stack, folder):
        self.direct = free_port()
        config = folder / 'mosquitto.conf'
        config.write_text(f'listener {self.direct} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n'
                          f'max_inflight_messages 0\npersistence false\n')
        start(stack, 'mosquitto', '-c', config, stderr=subprocess.DEVNULL)
        wait_for(lambda: socket.create_connection(('127.0.0.1', self.direct)).close() or True, 5, 'mosquitto')
        self.is_cut, self.pairs = False, []
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
                if self.is_cut:
                    raise OSError('cut')
                far = socket.create_connection(('127.0.0.1', self.direct))
            except OSError:
                near.close()
                continue
            self.pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self, is_cut=True):
        self.is_cut = is_cut
        pairs, self.pairs = (self.pairs, []) if is_cut else ([], self.pairs)
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Subscriber:
    """Collects all messages of a van: points by number, and the times of live positions."""

    def __init__(self, stack, port, van):
        self.points, self.twice, self.reused, self.positions, self.states = {}, 0, [], [], []
        self.process = start(stack, 'mosquitto_sub', '-p', port, '-V', 5, '-q', 1, '-t', f'fleet/v1/{van}/#', '-F', '%t %p',
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self.read, daemon=True).start()
        time.sleep(0.3)

    def read(self):
        for line in self.process.stdout:
            topic, payload = line.split(b' ', 1)
            if topic.endswith(b'/track'):
                for point in json.loads(payload)['points']:
                    point.pop('backlog', None)
                    known = self.points.setdefault(point['seq'], point)
                    self.twice += known is not point
                    if known != point:
                        self.reused.append(point['seq'])
            elif topic.endswith(b'/position'):
                self.positions.append(time.monotonic())
            elif topic.endswith(b'/state'):
                self.states.append(json.loads(payload))

    def longest_silence(self, since, until=None):
        times = [since, *(at for at in list(self.positions) if since < at < (until or time.monotonic()))]
        times.append(until or time.monotonic())
        return max(late - early for early, late in zip(times, times[1:]))


def sentence(body):
    check = 0
    for byte in body.encode():
        check ^= byte
    return f'${body}*{check:02X}\r\n'


class Receiver:
    """A receiver on TCP that sends epochs of RMC and GGA, each once and only while connected."""

    def __init__(self, stack, rate):
        self.said, self.rate = 0, rate
        self.listener = socket.create_server(('127.0.0.1', 0))
        stack.callback(self.listener.close)
        self.port = self.listener.getsockname()[1]
        self.is_quiet = False
        threading.Thread(target=self.serve, daemon=True).start()

    def epoch(self):
        self.said += 1
        utc = time.gmtime(1_796_000_000 + self.said)
        # A circle of some kilometres at 10 m/s.
        turn = self.said * 10 / 6000
        lat, lon = 48.3 + 0.054 * math.sin(turn), 10.9 + 0.081 * math.cos(turn)
        place = f'{int(lat):02d}{lat % 1 * 60:08.5f},N,{int(lon):03d}{lon % 1 * 60:08.5f},E'
        course = math.degrees(math.atan2(-math.sin(turn), math.cos(turn))) % 360
        clock = time.strftime('%H%M%S.00', utc)
        return (sentence(f'GNRMC,{clock},A,{place},19.44,{course:.1f},{time.strftime("%d%m%y", utc)},,,A')
                + sentence(f'GNGGA,{clock},{place},1,10,0.9,480.0,M,47.0,M,,')).encode()

    def serve(self):
        while True:
            try:
                agent, _ = self.listener.accept()
            except OSError:
                return
            agent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with agent, contextlib.suppress(OSError):
                while True:
                    if not self.is_quiet:
                        agent.sendall(self.epoch())
                    time.sleep(1 / self.rate)


def wait_for(condition, patience_s, what):
    deadline = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f'{what}: not within {patience_s} s')
        time.sleep(0.02)


def table(rows):
    """Prints rows of cells; the first one is the header."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for index, row in enumerate(rows):
        print('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |')
        if index == 0:
            print('|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    sys.stdout.flush()
