#!/usr/bin/env python3
"""Compares `waypost replay` and gpsdecode on drives with known truth.

    benches/drives.py [WAYPOST] [--only WORD] [--keep FOLDER] [--show]

A van drives, and the receiver on its roof shows typical problems: midnight, tunnels, cold starts, wrong eras, teleports.
The truth is the output of a perfect agent: each epoch in which the receiver measured a position, with its UTC and the
position as sent. Each drive is reported with the numbers of epochs that are `right` (same UTC and position), `wrong`
(reported with another UTC or position, or not an epoch at all) and `missing` (not reported). gpsd runs through gpsdecode
(Debian: gpsd-clients); without it, its columns stay empty. Output of gpsd without UTC counts as missing, and so does the
first epoch, in which it learns the epoch boundary. gpsd corrects eras with the clock of this host.

A parked van has a line of its own: the distance that it seems to move while it is parked.

WAYPOST is target/release/waypost unless given. Needs Python 3.8 only. Exit 1: waypost reported a wrong epoch.
"""
import argparse, datetime, json, math, pathlib, random, shutil, subprocess, sys, tempfile

UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)
ERA = datetime.timedelta(weeks=1024)
METRES_PER_DEGREE = 6_371_008.8 * math.pi / 180
SENT_EXACTLY_M = 0.05
ROUNDED_M = 1.0  # Records have five decimals.


def utc(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


class Epoch:
    """One instant of the van: its position, and the part that the receiver reports."""

    def __init__(self, time, lat, lon, speed, course):
        self.time, self.lat, self.lon, self.speed, self.course = time, lat, lon, speed, course
        self.said = time        # Date and time according to the receiver.
        self.leap = False       # It is the second 60 before `time`.
        self.is_fix = True      # A perfect agent reports it,
        self.may_come = False   # or may report it; omitting it is not an error.
        self.tolerance_m = SENT_EXACTLY_M
        self.standing = False
        self.text = None        # The sentences, unless they are those of the drive's kinds.


class Van:
    """A van on a plausible road, seeded: accelerates, turns, slows down; its receiver has an error of a few metres."""

    def __init__(self, seed, lat=48.3482, lon=10.8291):
        self.dice, self.lat, self.lon = random.Random(seed), lat, lon
        self.speed, self.course, self.bend, self.wanted = 8.0, 60.0, 0.0, 13.0
        self.error, self.sigma_m, self.memory_s = [0.0, 0.0], 1.5, 60.0

    def move(self, north_m, east_m):
        self.lat += north_m / METRES_PER_DEGREE
        self.lon += east_m / METRES_PER_DEGREE / math.cos(math.radians(self.lat))

    def step(self, seconds):
        if self.dice.random() < seconds / 12:
            self.bend, self.wanted = self.dice.choice([0, 0, 4, -4, 9, -9]), self.dice.uniform(5, 22)
        change = 1.5 * seconds
        self.speed += max(-change, min(change, self.wanted - self.speed))
        self.course = (self.course + self.bend * seconds) % 360
        way = self.speed * seconds
        self.move(way * math.cos(math.radians(self.course)), way * math.sin(math.radians(self.course)))
        self.drift(seconds)

    def drift(self, seconds):
        """First-order Gauss-Markov, as multipath and atmosphere are."""
        kept = math.exp(-seconds / self.memory_s)
        fresh = self.sigma_m * math.sqrt(1 - kept * kept)
        self.error = [kept * error + self.dice.gauss(0, fresh) for error in self.error]

    def epoch(self, time):
        lat = self.lat + self.error[0] / METRES_PER_DEGREE
        lon = self.lon + self.error[1] / METRES_PER_DEGREE / math.cos(math.radians(self.lat))
        speed = abs(self.speed + self.dice.gauss(0, 0.05))
        return Epoch(time, lat, lon, speed, (self.course + self.dice.gauss(0, 0.5)) % 360)


def drive(start, seconds, hz=1, seed=1, van=None):
    van = van or Van(seed)
    epochs = []
    for tick in range(seconds * hz):
        epochs.append(van.epoch(start + datetime.timedelta(seconds=tick / hz)))
        van.step(1 / hz)
    return epochs


# The sentences.

def line(body):
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f'${body}*{checksum:02X}\r\n'


def angle(degrees, digits):
    units = round(abs(degrees) * 60 * 100_000)
    return f'{units // 6_000_000:0{digits}d}{units // 100_000 % 60:02d}.{units % 100_000:05d}'


def place(epoch):
    return f'{angle(epoch.lat, 2)},{"S" if epoch.lat < 0 else "N"},{angle(epoch.lon, 3)},{"W" if epoch.lon < 0 else "E"}'


def clock(epoch):
    if epoch.leap:
        return '235960.00'
    return f'{epoch.said:%H%M%S}.{epoch.said.microsecond // 10_000:02d}'


def rmc(epoch, status='A', with_place=True):
    mode = 'A' if status == 'A' else 'N'
    day = epoch.said - DAY if epoch.leap else epoch.said
    where = place(epoch) if with_place else ',,,'
    motion = f'{epoch.speed / (1852 / 3600):.3f},{epoch.course:.2f}' if with_place else ','
    return line(f'GPRMC,{clock(epoch)},{status},{where},{motion},{day:%d%m%y},,,{mode}')


def gga(epoch, quality=1, with_place=True):
    if not with_place:
        return line(f'GPGGA,{clock(epoch)},,,,,0,00,99.99,,,,,,')
    return line(f'GPGGA,{clock(epoch)},{place(epoch)},{quality},09,0.95,478.2,M,47.0,M,,')


def gsa(epoch, mode=3):
    satellites = '02,05,07,09,13,16,20,29,30,,,' if mode > 1 else ',' * 11
    return line(f'GPGSA,A,{mode},{satellites},1.70,0.95,1.41' if mode > 1 else f'GPGSA,A,1,{satellites},99.99,99.99,99.99')


def vtg(epoch):
    return line(f'GPVTG,{epoch.course:.2f},T,,M,{epoch.speed / (1852 / 3600):.3f},N,{epoch.speed * 3.6:.3f},K,A')


def zda(epoch):
    day = epoch.said - DAY if epoch.leap else epoch.said
    return line(f'GPZDA,{clock(epoch)},{day:%d,%m,%Y},00,00')


RMC_FIRST, GGA_FIRST = [rmc, vtg, gga, gsa], [gga, gsa, rmc, vtg]


def no_fix(epoch, held=False):
    """The time is known and the position is not; some receivers repeat the last position."""
    epoch.is_fix = False
    return rmc(epoch, 'V', held) + (gga(epoch, 0) if held else gga(epoch, with_place=False)) + gsa(epoch, 1)


class Case:
    """`emit` selects the output of `waypost replay`: fixes as measured, or records as sent."""

    def __init__(self, name, epochs, kinds=RMC_FIRST, date=None, emit='fixes'):
        self.name, self.epochs, self.date, self.emit = name, epochs, date, emit
        said = []
        for epoch in epochs:
            if epoch.text is None:
                epoch.text = ''.join(kind(epoch) for kind in kinds)
            said.append(epoch.text)
        self.log = ''.join(said)
        self.truth = [epoch for epoch in epochs if epoch.is_fix]
        self.allowed = self.truth + [epoch for epoch in epochs if epoch.may_come]


# The cases.

def midnights():
    return [
        Case('midnight, RMC first', drive(utc('2026-11-22T23:59:30'), 60)),
        Case('midnight, GGA first', drive(utc('2026-11-22T23:59:30'), 60), GGA_FIRST),
        Case('midnight, GGA and a ZDA after it', drive(utc('2026-11-22T23:59:30'), 60), [gga, gsa, zda]),
        Case('end of the month', drive(utc('2026-11-30T23:59:30'), 60), GGA_FIRST),
        Case('end of February', drive(utc('2027-02-28T23:59:30'), 60), GGA_FIRST),
        Case('end of the year', drive(utc('2026-12-31T23:59:30'), 60), GGA_FIRST),
    ]


def leap_second(kinds, name):
    """23:59:60 and the 00:00:00 after it are one instant for software that counts UTC without leap seconds."""
    epochs = drive(utc('2026-12-31T23:59:30'), 60)
    for epoch in epochs[31:]:
        epoch.time -= datetime.timedelta(seconds=1)
        epoch.said = epoch.time
    epochs[30].leap = True
    return Case(name, epochs, kinds)


def tunnels():
    frozen = drive(utc('2026-11-23T06:40:00'), 180, seed=2)
    last = frozen[59]
    for epoch in frozen[60:120]:
        epoch.is_fix, epoch.text = False, ''.join(kind(last) for kind in GGA_FIRST)
    mixed = drive(utc('2026-11-23T06:40:00'), 180, seed=3)
    last_gga = gga(mixed[59])
    for epoch in mixed[60:120]:
        epoch.is_fix, epoch.text = False, last_gga + gsa(epoch) + rmc(epoch, 'V', False)
    only = drive(utc('2026-11-23T06:40:00'), 180, seed=4)
    last_gga = gga(only[59])
    for epoch in only[60:120]:
        epoch.is_fix, epoch.text = False, last_gga
    void, held = (drive(utc('2026-11-23T06:40:00'), 180, seed=seed) for seed in (5, 6))
    for epoch in void[60:120]:
        epoch.text = no_fix(epoch)
    for epoch in held[60:120]:
        epoch.lat, epoch.lon = held[59].lat, held[59].lon
        epoch.text = no_fix(epoch, held=True)
    return [
        Case('tunnel, all repeats its last epoch', frozen, GGA_FIRST),
        Case('tunnel, GGA repeats, RMC sends V', mixed, GGA_FIRST),
        Case('tunnel, GGA and ZDA, GGA repeats', only, [gga, zda]),
        Case('tunnel, RMC sends V', void),
        Case('tunnel, RMC sends V and the last position', held),
    ]


def cold_start(day, status):
    """For 30 s the receiver counts from the first day of an era. With status A, it measures before it knows the
    time; detecting that requires the time from another source.
    """
    epochs = drive(utc('2026-11-23T06:40:00'), 120, seed=7)
    for second, epoch in enumerate(epochs[:30]):
        epoch.said = utc(f'{day}T00:00:{second:02d}')
        epoch.is_fix, epoch.may_come = False, status == 'A'
        if status == 'V':
            epoch.text = no_fix(epoch)
    return Case(f'cold start at {day}, status {status}', epochs, date='2026-11-23')


def eras(count):
    epochs = drive(utc('2026-11-23T06:40:00'), 120, seed=8)
    for epoch in epochs:
        epoch.said = epoch.time - count * ERA
    return Case(f'receiver {count} era{"s" if count > 1 else ""} behind', epochs, date='2026-11-23')


def teleport(fixes, kinds=RMC_FIRST, hz=1, name='', date=None):
    """40 km to the north and back, while speed and course stay unaffected."""
    epochs = drive(utc('2026-11-23T06:40:00'), 180, hz, seed=9)
    for epoch in epochs[90:90 + fixes]:
        epoch.lat += 40_000 / METRES_PER_DEGREE
        epoch.is_fix = False
    return Case(f'teleport of 40 km for {fixes} fix{"es" if fixes > 1 else ""}{name}', epochs, kinds, date)


def wrong_first_fixes(count):
    """The first fixes are 40 km away. That cannot be detected yet, but later fixes must not be rejected for it."""
    epochs = drive(utc('2026-11-23T06:40:00'), 120, seed=10)
    for epoch in epochs[:count]:
        epoch.lat += 40_000 / METRES_PER_DEGREE
        epoch.is_fix, epoch.may_come = False, True
    return Case(f'first {count} fix{"es" if count > 1 else ""} 40 km away', epochs)


def jam():
    """Ten minutes at 0.2 to 1.2 m/s with halts between: slow driving is not drift. A held position must not lag
    by more than the drift for which it is held.
    """
    van = Van(16)
    epochs = drive(utc('2026-11-23T06:40:00'), 60, van=van)
    van.bend, van.wanted = 0.0, 0.0
    for second in range(600):
        if second % 20 == 0:
            van.wanted = van.dice.choice([0.0, 0.2, 0.5, 0.8, 1.2])
        van.speed += max(-1.5, min(0.3, van.wanted - van.speed))
        van.move(van.speed * math.cos(math.radians(van.course)), van.speed * math.sin(math.radians(van.course)))
        van.drift(1.0)
        epochs.append(van.epoch(utc('2026-11-23T06:41:00') + datetime.timedelta(seconds=second)))
        epochs[-1].tolerance_m = 30.0
    return Case('ten minutes in a jam', epochs, emit='records')


def ferry(off, name):
    """An hour on a ferry: 30 km further when the receiver has a fix again."""
    van = Van(11)
    epochs = drive(utc('2026-11-23T06:40:00'), 120, van=van)
    van.move(30_000, 4_000)
    for second in range(0 if off else 3400):
        epochs.append(van.epoch(utc('2026-11-23T06:42:00') + datetime.timedelta(seconds=second)))
        epochs[-1].text = no_fix(epochs[-1])
    epochs += drive(utc('2026-11-23T07:38:40'), 120, van=van)
    return Case(name, epochs)


def parked(kinds, name):
    """Arrives, parks for an hour, drives off. Multipath: sigma 3 m, and occasionally 30 m for half a minute."""
    van = Van(12)
    start = utc('2026-11-23T06:40:00')
    epochs = drive(start, 60, van=van)
    start += datetime.timedelta(seconds=60)
    van.sigma_m = 3.0
    far, since = None, 0
    for second in range(3600):
        if far is None and second % 900 == 450:
            bearing = van.dice.uniform(0, 2 * math.pi)
            far, since = (30 * math.cos(bearing), 30 * math.sin(bearing)), second
        # It moves away in ten seconds, stays, and returns in ten.
        share = max(0.0, min(1.0, (second - since) / 10, (40 - second + since) / 10)) if far else 0.0
        if far and second - since > 40:
            far = None
        there = van.error
        if far:
            van.error = [error + share * away for error, away in zip(there, far)]
        van.speed = 0.0
        epoch = van.epoch(start + datetime.timedelta(seconds=second))
        epoch.speed, epoch.course = abs(van.dice.gauss(0, 0.08)), van.dice.uniform(0, 359.9)
        epoch.standing, epoch.tolerance_m = True, 60.0
        epochs.append(epoch)
        van.error = there
        van.drift(1.0)
    van.sigma_m = 1.5
    away = drive(start + datetime.timedelta(seconds=3600), 90, van=van)
    # The first metres of the drive may be taken for drift.
    for second, epoch in enumerate(away[:20]):
        epoch.tolerance_m = 60.0 if second < 10 else 10.0
    return Case(name, epochs + away, kinds, date='2026-11-23', emit='records')


def cases():
    yield from midnights()
    yield leap_second(RMC_FIRST, 'second 60, RMC first')
    yield leap_second(GGA_FIRST, 'second 60, GGA first')
    yield leap_second([rmc], 'second 60, RMC only')
    yield from tunnels()
    for day in ('1980-01-06', '1999-08-22'):
        for status in 'VA':
            yield cold_start(day, status)
    yield eras(1)
    yield eras(2)
    yield Case('10 Hz', drive(utc('2026-11-23T06:40:00'), 60, hz=10, seed=13))
    yield Case('10 Hz through midnight', drive(utc('2026-11-22T23:59:50'), 20, hz=10, seed=13), GGA_FIRST)
    yield Case('GGA only', drive(utc('2026-11-23T06:40:00'), 120, seed=14), [gga], date='2026-11-23')
    yield Case('GGA only through midnight', drive(utc('2026-11-22T23:59:00'), 120, seed=14), [gga], date='2026-11-22')
    yield Case('RMC only', drive(utc('2026-11-23T06:40:00'), 120, seed=15), [rmc])
    yield teleport(1)
    yield teleport(1, [rmc], name=', RMC only')
    yield teleport(1, [gga], name=', GGA only', date='2026-11-23')
    yield teleport(5)
    yield teleport(5, hz=10, name=', 10 Hz')
    yield wrong_first_fixes(1)
    yield wrong_first_fixes(3)
    yield ferry(True, 'an hour on a ferry, receiver off')
    yield ferry(False, 'an hour on a ferry, receiver without fix')
    yield jam()
    yield parked(RMC_FIRST, 'an hour parked')
    yield parked([gga], 'an hour parked, GGA only')


# Output of the programs.

class Said:
    """One reported position and time."""

    def __init__(self, time, lat, lon):
        # Second 60 reads as the second after it, as in POSIX.
        leap = time[17:19] == '60'
        self.time = utc((time[:17] + '59' + time[19:] if leap else time).rstrip('Z'))
        self.time += datetime.timedelta(seconds=leap)
        self.lat, self.lon = lat, lon

    def metres_to(self, other):
        north = (self.lat - other.lat) * METRES_PER_DEGREE
        east = (self.lon - other.lon) * METRES_PER_DEGREE * math.cos(math.radians(self.lat))
        return math.hypot(north, east)


def ask_waypost(waypost, emit, case, path):
    command = [waypost, 'replay', '--emit', emit] + (['--date', case.date] if case.date else []) + [path]
    rows = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.splitlines()
    return [Said(row['ts'], row['lat'], row['lon']) for row in map(json.loads, rows)]


def ask_gpsd(path):
    with open(path, 'rb') as log:
        done = subprocess.run(['gpsdecode'], stdin=log, check=True, capture_output=True, text=True, timeout=120)
    rows = [json.loads(row) for row in done.stdout.splitlines() if row.startswith('{')]
    fixes = [row for row in rows if row.get('class') == 'TPV' and row.get('mode', 0) > 1 and 'lat' in row]
    return [Said(row['time'], row['lat'], row['lon']) for row in fixes if 'time' in row]


def judge(case, said, least_tolerance_m=0.0):
    """Returns right, wrong and missing. Identical repeated reports count once."""
    by_time = {}
    for index, epoch in enumerate(case.allowed):
        by_time.setdefault(round(epoch.time.timestamp() * 100), []).append((index, epoch))
    found, wrong = set(), []
    for one in said:
        there = by_time.get(round(one.time.timestamp() * 100), [])
        same = [index for index, epoch in there if one.metres_to(epoch) <= max(epoch.tolerance_m, least_tolerance_m)]
        if same:
            found.add(next((index for index in same if index not in found), same[0]))
        else:
            wrong.append(one)
    right = sum(index < len(case.truth) for index in found)
    return right, wrong, len(case.truth) - right


def false_metres(case, said):
    """Returns the sum of the steps between positions while the van is parked."""
    standing = [epoch.time for epoch in case.epochs if epoch.standing]
    there = [one for one in said if standing and standing[0] <= one.time <= standing[-1]]
    return sum(one.metres_to(before) for before, one in zip(there, there[1:]))


def main():
    root = pathlib.Path(__file__).parent.parent
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('waypost', nargs='?', default=str(root / 'target/release/waypost'))
    arguments.add_argument('--only', default='', help='run only cases whose name contains this word')
    arguments.add_argument('--keep', help='leave the drives in this folder')
    arguments.add_argument('--show', action='store_true', help='show the first wrong epochs of waypost')
    options = arguments.parse_args()
    gpsd = shutil.which('gpsdecode')
    if not gpsd:
        print('skipped: the columns of gpsd (gpsdecode is not installed: apt-get install gpsd-clients)')
    folder = pathlib.Path(options.keep or tempfile.mkdtemp(prefix='waypost-drives-'))
    folder.mkdir(parents=True, exist_ok=True)
    print(f'{"drive":44} {"epochs":>6} |{"ours: right":>12} {"wrong":>6} {"missing":>8} |{"gpsd: right":>12} {"wrong":>6} {"missing":>8}')
    all_wrong, parkings = 0, []
    for number, case in enumerate(case for case in cases() if options.only in case.name):
        path = folder / f'{number:02d}.nmea'
        path.write_text(case.log, newline='')
        ours = ask_waypost(options.waypost, case.emit, case, path)
        right, wrong, missing = judge(case, ours, ROUNDED_M if case.emit == 'records' else 0.0)
        all_wrong += len(wrong)
        row = f'{case.name:44} {len(case.truth):6} |{right:12} {len(wrong):6} {missing:8} |'
        if gpsd:
            dated = ask_gpsd(path)
            their_right, their_wrong, their_missing = judge(case, dated)
            row += f'{their_right:12} {len(their_wrong):6} {their_missing:8}'
        print(row)
        if options.show:
            for one in wrong[:4]:
                print(f'    wrong: {one.time.isoformat()} {one.lat:.6f} {one.lon:.6f}')
        if any(epoch.standing for epoch in case.epochs):
            metres = f'{false_metres(case, ours):6.0f} m'
            # Without a date from the receiver, gpsd has no UTC.
            theirs = f'gpsd {false_metres(case, dated):6.0f} m' if gpsd and dated else 'gpsd reports no UTC' if gpsd else ''
            sent = [Said(epoch.time.isoformat()[:19], epoch.lat, epoch.lon) for epoch in case.truth]
            parkings.append(f'{case.name:44} false movement: sent {false_metres(case, sent):6.0f} m, ours {metres}; {theirs}')
    for row in parkings:
        print(row)
    if not options.keep:
        shutil.rmtree(folder)
    print(f'{all_wrong} wrong epochs' if all_wrong else 'no wrong epochs')
    return 1 if all_wrong else 0


if __name__ == '__main__':
    sys.exit(main())
