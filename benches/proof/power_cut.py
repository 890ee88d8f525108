#!/usr/bin/env python3
"""Simulates power cuts at thousands of instants. The example outbox_rig runs a simulated day (drives and halts, stalls, dead
spots and outages of the link, kills and restarts of the agent) on an ext4 whose block device logs every write and flush.
Then the disk is rebuilt as a power cut could have left it:

  prefix   every write up to a point, in order
  drop     the writes since the last flush lost
  subset   some of the writes since the last flush, in any order
  torn     the same, with only some of the sectors of 512 bytes of each write

Each is mounted (after e2fsck if needed), the outbox is opened and read, and must keep its guarantees. It opens. No
committed and unacknowledged record is missing, and none that a departure or halt has made urgent. The content found is
right and in order. No number will be used again. Lost records are not older than W and a second. For delivery events and
the document that changes with each of them: the document names the newest event that was accepted and survived, every
event before it is present or acknowledged, and none exists after it.

Then the controls, which must fail: the same program with `synchronous = NORMAL` (the statement is replaced in a copy of
the binary), and a card that ignores flushes and loses its last writes. With the latter the outbox must still open,
quarantine the damaged file, and continue.

Needs root, loop devices, FUSE, qemu-storage-daemon (qemu-utils), e2fsprogs, and the release build of outbox_rig.
"""
import argparse, collections, contextlib, multiprocessing, os, random, signal, subprocess, sys, time

from parts import (MS_NOATIME, RIG, Loop, Recorder, mount, read_log, scope, skip_without, start, table, unmount)

TRIP_S, DRIVE_S = 900, 720  # Same as in outbox_rig.
CHUNK = 1 << 16
LIAR_WRITES = 24
FIRST_START = 100  # Writes, about.
GOES_ON_EACH = 25


class Numbers:
    """A set of numbers in ascending ranges."""

    def __init__(self, ranges=()):
        self.ranges = [list(part) for part in ranges]

    def add(self, first, last):
        if self.ranges and self.ranges[-1][1] + 1 >= first >= self.ranges[-1][0]:
            self.ranges[-1][1] = max(last, self.ranges[-1][1])
        elif not self.ranges or first > self.ranges[-1][1]:
            self.ranges.append([first, last])
        else:
            merged = []
            for part in sorted([*self.ranges, [first, last]]):
                if merged and part[0] <= merged[-1][1] + 1:
                    merged[-1][1] = max(merged[-1][1], part[1])
                else:
                    merged.append(part)
            self.ranges = merged

    def without(self, other):
        result, index = Numbers(), 0
        for first, last in self.ranges:
            for begin, end in other.ranges:
                if end < first:
                    continue
                if begin > last:
                    break
                if begin > first:
                    result.ranges.append([first, begin - 1])
                first = max(first, end + 1)
            if first <= last:
                result.ranges.append([first, last])
        return result

    def up_to(self, limit):
        return Numbers([first, min(last, limit)] for first, last in self.ranges if first <= limit)

    def count(self):
        return sum(last - first + 1 for first, last in self.ranges)

    def newest(self):
        return self.ranges[-1][1] if self.ranges else 0

    def __contains__(self, number):
        return any(first <= number <= last for first, last in self.ranges)


class Promised:
    """The rig's output up to a point."""

    def __init__(self):
        self.accepted, self.acknowledged, self.durable = Numbers(), Numbers(), 0
        self.events, self.events_acknowledged, self.events_durable = [], set(), 0
        self.next = 1

    def hear(self, kind, first, second):
        if kind == 'S':
            self.next = first
        elif kind == 'A':
            self.accepted.add(self.next, first)
            self.next = first + 1
        elif kind == 'C':
            self.durable = max(self.durable, first)
        elif kind == 'D':
            self.acknowledged.add(first, second)
        elif kind == 'V':
            self.events.append(first)
            self.next = first + 1
        elif kind == 'K':
            self.events_durable = max(self.events_durable, first)
        elif kind == 'G':
            self.events_acknowledged.add(first)


def record(stack, folder, rig, commit_after, hours, seed):
    """Runs the day and returns the recorder."""
    recorder = Recorder(stack, folder)
    chance = random.Random(seed)
    left = int(hours * 3600)
    while left > 0:
        points = min(left, chance.randrange(1200, 4200))
        left -= points
        is_killed = chance.random() < 0.6
        rig_process = start(
            stack, rig, recorder.place / 'outbox.db', '--tail', folder / 'tail', '--commit-after', commit_after,
            '--rate', 1, '--points', points + 500 if is_killed else points, '--virtual', '--lockstep', '--events',
            '--ack', 'day', stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        for line in rig_process.stdout:
            kind, *words = line.split()
            if kind == 'R':
                if words[4:] != ['ok']:
                    raise RuntimeError(f'before any cut: {line}')
                recorder.mark('S', int(words[3]))
            elif kind in 'ACDVKG':
                recorder.mark(kind, *map(int, words))
                points -= kind == 'A'
                if is_killed and points == 0:
                    rig_process.kill()
                    break
                with contextlib.suppress(BrokenPipeError):
                    rig_process.stdin.write('\n')
        rig_process.stdin.close()
        code = rig_process.wait()
        if code and not is_killed:
            raise RuntimeError(f'the rig has failed: {rig_process.stderr.read()}')
    recorder.finish()
    return recorder


class Disk:
    """The disk at some point of the log, and the states that a cut could produce."""

    def __init__(self, recorder, lies):
        self.bytes = bytearray(recorder.base.read_bytes()[:recorder.bytes])
        self.log, self.lies, self.unflushed = open(recorder.log, 'rb'), lies, []
        self.used = {at // CHUNK for at in range(0, len(self.bytes), CHUNK) if any(self.bytes[at:at + CHUNK])}

    def write(self, entry):
        _, at, length, place = entry
        self.log.seek(place)
        self.unflushed.append((at, self.log.read(length)))
        self.used.update(range(at // CHUNK, (at + length - 1) // CHUNK + 1))

    def flush(self):
        keep = len(self.unflushed) - self.lies if self.lies else len(self.unflushed)
        for at, data in self.unflushed[:max(0, keep)]:
            self.bytes[at:at + len(data)] = data
        self.unflushed = self.unflushed[max(0, keep):]

    def state(self, form, chance):
        """Returns (identity of this state, the writes since the last flush that have arrived)."""
        if form == 'drop':
            return (), []
        if form == 'prefix':
            return tuple(range(len(self.unflushed))), self.unflushed
        chosen = [index for index in range(len(self.unflushed)) if chance.random() < 0.5]
        chance.shuffle(chosen)
        if form == 'subset':
            return tuple(chosen), [self.unflushed[index] for index in chosen]
        parts, key = [], []
        for index in chosen or range(len(self.unflushed)):
            at, data = self.unflushed[index]
            for begin in range(0, len(data), 512):
                if chance.random() < 0.6:
                    parts.append((at + begin, data[begin:begin + 512]))
                    key.append((index, begin))
        return tuple(key), parts

    def store(self, path, parts):
        """Writes the image to a file; blocks never written stay holes."""
        overlay = {}
        for at, data in parts:
            while data:
                number, within = at // CHUNK, at % CHUNK
                chunk = overlay.setdefault(number, bytearray(self.bytes[number * CHUNK:(number + 1) * CHUNK]))
                part = data[:CHUNK - within]
                chunk[within:within + len(part)] = part
                at, data = at + len(part), data[len(part):]
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.ftruncate(handle, len(self.bytes))
        for number in self.used:
            os.pwrite(handle, overlay.get(number) or self.bytes[number * CHUNK:(number + 1) * CHUNK], number * CHUNK)
        os.close(handle)


def opened(image, place, note):
    """Returns the loop device of a mounted image, or None if it cannot be repaired."""
    loop = Loop(image)
    try:
        mount(loop.device, place, 'ext4', MS_NOATIME)
        return loop
    except OSError:
        loop.close()
        note('needed e2fsck')
        return repaired(image, place)


def repaired(image, place):
    """Repairs the file system as a system's start does."""
    subprocess.run(['e2fsck', '-fy', '-b', '1024', '-B', '4096', image], capture_output=True)
    loop = Loop(image)
    try:
        mount(loop.device, place, 'ext4', MS_NOATIME)
        return loop
    except OSError:
        loop.close()
        return None


def examine(place, promised, bound, note, count):
    """Opens the outbox at `place`, checks its guarantees, and returns the number of lost fixes."""
    path = place / 'outbox.db'
    try:
        rig = subprocess.run([RIG, path, '--check'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        note('refused to open')
        return 0
    said = dict((line[0], line[1:].split()) for line in rig.stdout.splitlines() if line)
    if 'H' not in said:
        names = sorted(os.listdir(place))
        # Only a card that ignores flushes can lose the second file of a first start and keep some of the first.
        what = 'refused to open' if 'outbox.db.seq' in names else 'refused to open, first start half lost'
        note('input/output error' if 'os error 5' in rig.stdout else what, f'{rig.stdout}{rig.stderr} {names}')
        return 0
    held = Numbers(map(int, part.split('-')) for part in said['H'])
    _, _, _, following, *verdict = said['R']
    if verdict != ['ok']:
        note('wrong content or order', ' '.join(verdict))
    if any('.corrupt-' in name for name in os.listdir(place)):
        note('set aside as damaged')
    waiting = promised.accepted.without(promised.acknowledged)
    lost = waiting.without(held)
    if committed := lost.up_to(promised.durable).count():
        note('committed and missing', f'{committed}: {lost.ranges}')
    # Before the last accepted departure or halt, each one had its own transaction.
    urgent = [number for first, last in lost.ranges for number in range(first, min(last, promised.next - 2) + 1)
              if number % TRIP_S in (0, DRIVE_S) and number - 1 in promised.accepted]
    if urgent:
        note('departures lost', str(urgent))
    newest = max([promised.accepted.newest(), *promised.events[-1:]])
    if int(following) <= newest:
        note('numbers used again', f'{following} after {newest}')
    if fault := events_fault(promised, *map(int, said.get('E', ['0']))):
        note('events and document disagree', fault)
    if lost.count() > bound:
        note('more than W lost', f'{lost.count()}: {lost.ranges}, durable {promised.durable}')
    if count % GOES_ON_EACH == 0:
        more = subprocess.run([RIG, path, '--rate', '0', '--points', '600'], stdin=subprocess.DEVNULL, capture_output=True)
        again = subprocess.run([RIG, path, '--check'], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        expected = held.count() + 600
        if more.returncode or again.returncode or again.stdout.split('R ')[-1].split()[2] != str(expected):
            note('does not continue', again.stdout[-300:])
    return lost.count()


def events_fault(promised, document, *held):
    """Returns the errors in the events found and the document that names the newest one."""
    if document < promised.events_durable:
        return f'committed up to {promised.events_durable}, and the document names {document}'
    if document and document not in promised.events:
        return f'the document names {document}, which was no event'
    waiting = {event for event in promised.events if event <= document} - promised.events_acknowledged
    if missing := waiting - set(held):
        return f'missing: {sorted(missing)}, and the document names {document}'
    if after := [event for event in held if event > document]:
        return f'after the {document} of the document: {after}'
    return None


def replay(work):
    """One worker's share of the crash states."""
    recorder, folder, states, seed, lies, bound, share, shares = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    entries = read_log(recorder.log, recorder.bytes)
    places = {kind: [at for at, entry in enumerate(entries) if (entry[1] if entry[0] == 'M' else entry[0]) == kind]
              for kind in 'WCAK'}
    # Five states at a write, fewer between: some of the points are in the first start, where everything is created, then
    # where the device writes, where a guarantee has just been printed, and at any second.
    draw, points = random.Random(seed), set()
    for kind, from_, to, part in (('W', 0, FIRST_START, 0 if lies else 0.1), ('W', FIRST_START, None, 0.6),
                                  ('C', 0, None, 0.2), ('K', 0, None, 0.1), ('A', 0, None, 0.2)):
        # The work of a second is complete when the next point comes.
        some = [at - (kind == 'A') for at in places[kind][from_:to]]
        points.update(draw.sample(some, min(len(some), int(states / 4 * part) + 1)))
    points = sorted(points)
    mine = set(points[share::shares])
    chance = random.Random(seed * 1000 + share)
    disk, promised = Disk(recorder, lies), Promised()
    image, place = folder / f'crash-{share}.img', folder / f'crash-{share}'
    place.mkdir(exist_ok=True)
    found, losses, at_random, samples, count = collections.Counter(), [], [], {}, 0
    for at, entry in enumerate(entries):
        if entry[0] == 'M':
            promised.hear(*entry[1:])
        elif entry[0] == 'F':
            disk.flush()
        else:
            disk.write(entry)
        if at in mine:
            seen = set()
            for form in ('prefix', 'drop', 'subset', 'torn', 'torn'):
                key, parts = disk.state(form, chance)
                if (form == 'torn', key) in seen:
                    continue
                seen.add((form == 'torn', key))
                count += 1
                disk.store(image, parts)
                bad = set()

                def note(what, detail=''):
                    bad.add(what)
                    samples.setdefault(what, f'{form} at entry {at}: {detail.strip()[-300:]}')
                loop = opened(image, place, note)
                if loop is None:
                    note('file system cannot be mounted')
                else:
                    try:
                        losses.append(examine(place, promised, bound, note, count))
                        if 'input/output error' in bad:
                            # The kernel has found damage that only e2fsck can repair.
                            unmount(place)
                            loop.close()
                            bad = {'needed e2fsck'}
                            loop = repaired(image, place)
                            losses[-1] = examine(place, promised, bound, note, count)
                        if entries[at + 1:at + 2] and entries[at + 1][:2] == ('M', 'A'):
                            at_random.append(losses[-1])
                    finally:
                        unmount(place)
                        loop.close()
                found.update(bad)
                if bad - {'needed e2fsck'}:
                    found['states'] += 1
    return count, found, losses, at_random, samples


DAMAGE = ('refused to open', 'refused to open, first start half lost', 'input/output error',
          'wrong content or order', 'set aside as damaged', 'committed and missing', 'departures lost',
          'events and document disagree', 'numbers used again', 'more than W lost', 'does not continue',
          'file system cannot be mounted')


def explore(recorder, folder, name, states, options, bound, lies=0):
    began = time.monotonic()
    work = [(recorder, folder, states, options.seed, lies, bound, share, options.jobs) for share in range(options.jobs)]
    with multiprocessing.get_context('fork').Pool(options.jobs) as pool:
        shares = pool.map(replay, work)
    count = sum(share[0] for share in shares)
    found = sum((share[1] for share in shares), collections.Counter())
    losses = [loss for share in shares for loss in share[2]]
    at_random = [loss for share in shares for loss in share[3]]
    samples = {what: text for share in shares for what, text in share[4].items()}
    damaged = found['wrong content or order'] + found['set aside as damaged']
    row = [name, count, found['states'], found['departures lost'], found['committed and missing'],
           found['events and document disagree'], damaged,
           max(losses, default=0), f'{sum(at_random) / max(1, len(at_random)):.2f}', found['refused to open'],
           found['numbers used again'], found['does not continue'], found['needed e2fsck'],
           f'{(time.monotonic() - began) * 1000 / max(1, count):.0f} ms']
    return row, found, samples


HEAD = ['what', 'crash states', 'violations', 'departures lost', 'committed lost', 'deliveries wrong', 'corrupt', 'fixes lost, max',
        'mean of any second', 'refused to open', 'number reused', 'stuck', 'e2fsck', 'each']


class Log:
    """The results that outlive a recorder."""

    def __init__(self, recorder):
        self.log, self.base, self.bytes = recorder.log, recorder.base, recorder.bytes


def weakened(folder):
    """A copy of the rig that does not wait for the disk at each commit."""
    text = RIG.read_bytes()
    full, normal = b'PRAGMA synchronous = FULL;', b'PRAGMA synchronous = 1;   '
    if text.count(full) != 1:
        raise RuntimeError(f'{full} is not once in {RIG}: the control must be adapted')
    copy = folder / 'outbox_rig_normal'
    copy.write_bytes(text.replace(full, normal))
    copy.chmod(0o755)
    return copy


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--states', type=int, default=12_000, help='crash states, all profiles (default %(default)s)')
    arguments.add_argument('--hours', type=float, default=10, help='of the simulated day (default %(default)s)')
    arguments.add_argument('--short', action='store_true', help='within a minute, for CI: 150 minutes, some hundred states')
    arguments.add_argument('--profiles', default='0,5,60', help='outbox.commit_after_s (default %(default)s)')
    arguments.add_argument('--seed', type=int, default=1)
    arguments.add_argument('--jobs', type=int, default=os.cpu_count())
    options = arguments.parse_args()
    if options.short:
        options.states, options.hours = 720, 2.5
    skip_without('root', 'loop', 'fuse', 'qemu-storage-daemon', 'mkfs.ext4', 'e2fsck', RIG)
    profiles = [int(word) for word in options.profiles.split(',')]
    failed, rows, texts, lie_on = False, [HEAD], [], None
    with scope() as (stack, folder):
        for commit_after in profiles:
            with contextlib.ExitStack() as inner:
                began = time.monotonic()
                log = Log(record(inner, folder / f'w{commit_after}', RIG, commit_after, options.hours, options.seed))
                entries = collections.Counter(entry[0] for entry in read_log(log.log, log.bytes))
                texts.append(f'W {commit_after} s: {options.hours} h recorded in {time.monotonic() - began:.0f} s, '
                             f'{entries["W"]} writes, {entries["F"]} flushes')
            row, found, samples = explore(log, folder, f'W {commit_after} s', options.states // len(profiles), options,
                                          commit_after + 1)
            rows.append(row)
            if any(found[what] for what in DAMAGE):
                failed = True
                texts += [f'VIOLATION at W {commit_after} s: {what}: {found[what]}, e.g. {samples[what]}'
                          for what in DAMAGE if found[what]]
            print(f'W {commit_after} s: {row[1]} states, {row[2]} violations, {row[7]} fixes lost at most', flush=True)
            if commit_after == 5 or lie_on is None:
                lie_on = log
        states = max(90, options.states // 12)
        row, found, samples = explore(lie_on, folder, f'control: card ignores flushes, {LIAR_WRITES} writes volatile', states,
                                      options, 6, LIAR_WRITES)
        rows.append(row)
        if not found['committed and missing']:
            failed, texts = True, [*texts, 'CONTROL: a card that ignores flushes was not detected']
        for what in ('refused to open', 'refused to open, first start half lost', 'wrong content or order',
                     'does not continue', 'file system cannot be mounted'):
            if found[what]:
                texts.append(f'with the card that ignores flushes: {what}: {found[what]}, e.g. {samples[what]}')
                failed |= what in ('refused to open', 'does not continue')
        with contextlib.ExitStack() as inner:
            log = Log(record(inner, folder / 'normal', weakened(folder), 5, min(options.hours, 2), options.seed))
        row, found, _ = explore(log, folder, 'control: synchronous = NORMAL', states, options, 6)
        rows.append(row)
        if not found['committed and missing']:
            failed, texts = True, [*texts, 'CONTROL: synchronous = NORMAL was not detected']
    table(rows)
    print('\n'.join(texts))
    print('FAILED' if failed else 'ok')
    return failed


if __name__ == '__main__':
    sys.exit(main())
