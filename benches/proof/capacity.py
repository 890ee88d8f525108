#!/usr/bin/env python3
"""Capacity, throughput and bit flips of the outbox: insert and drain rates, resident memory and bytes stored at a million
and ten million pending fixes, 60 days of 1 Hz in 64 MiB, and flips of single bits in the stored file. Each flip must be
detected or harmless: records read afterwards are right, and damaged ones are missing and counted.

Needs the release build of the example outbox_rig. With --flips alone it takes seconds.
"""
import argparse, collections, os, random, re, shutil, sqlite3, subprocess, sys, time

from parts import AGENT, RIG, ROOT, SIMULATOR, scope, skip_without, table


HUGE = ('--max-mib', 4096, '--max-age-days', 3650)


def rig(path, *words, timeout=900):
    done = subprocess.run([str(word) for word in (RIG, path, *words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout)
    said = {}
    for line in done.stdout.splitlines():
        kind, *rest = line.split()
        if kind != 'A' and kind != 'C':
            said[kind] = rest
    return done, said


def capacity(folder, sizes):
    rows = [['waiting fixes', 'file', 'bytes per fix', 'insert, fixes/s', 'resident after', 'resident, all read', 'drain, fixes/s',
             'resident, drained']]
    good = True
    for points in sizes:
        path = folder / f'{points}.db'
        done, said = rig(path, '--rate', 0, '--points', points, *HUGE)
        size = path.stat().st_size
        inserted, resident = float(said['T'][1]), int(said['M'][0])
        check, read = rig(path, '--check', *HUGE)
        peak = read['M'][0]
        drained, drain = rig(path, '--drain', *HUGE)
        good &= not (done.returncode or check.returncode or drained.returncode) and int(read['R'][2]) == points
        per = lambda seconds: f'{points / max(seconds, 1e-3):,.0f}' if points else ''
        rows.append([f'{points:,}', f'{size / 2**20:.1f} MiB', f'{size / points:.2f}' if points else '', per(inserted),
                     f'{resident} KiB', f'{peak} KiB', per(float(drain['T'][1])), f'{drain["M"][0]} KiB'])
        path.unlink()
    table(rows)
    return good


def sixty_days(folder):
    """The default size holds 60 days at 1 Hz without eviction."""
    path, points = folder / 'days.db', 60 * 86_400
    old = ('--max-age-days', 100)
    rig(path, '--rate', 0, '--points', points, *old)
    check, read = rig(path, '--check', *old)
    kept = int(read['R'][2])
    print(f'60 days at 1 Hz: {points:,} fixes, {kept:,} kept, {path.stat().st_size / 2**20:.1f} MiB of 64; '
          f'30 days are {path.stat().st_size / 2 / 1e6:.1f} MB; read: {" ".join(read["R"][4:])}')
    path.unlink()
    return kept == points and check.returncode == 0


def simulated(folder):
    """Prints the bytes of a simulated receiver's trail as stored by the agent while the broker is unreachable."""
    if not AGENT.exists():
        print(f'skipped: bytes of a simulated drive ({AGENT} does not exist)')
        return
    (folder / 'waypost.toml').write_text(
        f'van.id = "FULL"\nmqtt.broker = "mqtt://127.0.0.1:9"\ngnss.source = "stdin:"\ntrack.sampling = "raw"\noutbox.path = "{folder}/agent.db"\n'
        f'outbox.tail_path = ""\ncontrol.path = ""\n')
    for receiver in ('ublox-m8', 'sirf-star'):
        for ending in ('', '-wal', '.seq', '.ballast'):
            (folder / f'agent.db{ending}').unlink(missing_ok=True)
        route = ROOT / 'config/routes/rural.toml'
        simulate = subprocess.Popen([SIMULATOR, route, '--receiver', receiver, '--cold-start', '0', '--duration', '40000'],
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        agent = subprocess.Popen([AGENT, 'run', '--config', folder / 'waypost.toml'], stdin=simulate.stdout,
                                 stderr=subprocess.DEVNULL)
        simulate.stdout.close()
        simulate.wait()
        time.sleep(2)
        agent.terminate()
        agent.wait()
        database = sqlite3.connect(folder / 'agent.db')
        points, blobs, rows = database.execute('SELECT sum(n), sum(length(p)), count(*) FROM batch').fetchone()
        used = database.execute('PRAGMA page_count').fetchone()[0] - database.execute('PRAGMA freelist_count').fetchone()[0]
        database.close()
        print(f'simulated {receiver}: {points} points in {rows} rows, {blobs / points:.2f} bytes each packed, '
              f'{used * 1024 / points:.2f} with their pages')


def flips(folder, count, seed):
    """Flips single bits of the closed file, of the WAL alone, and of both as a kill leaves them."""
    chance, found, good = random.Random(seed), collections.Counter(), True
    points = 20_000
    closed, killed = folder / 'closed.db', folder / 'killed.db'
    rig(closed, '--rate', 0, '--points', points)
    # The WAL contains transactions that are not in the file yet, because the process was killed.
    process = subprocess.Popen([RIG, killed, '--rate', '1', '--virtual', '--commit-after', '5', '--points', '100000000'],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    last = 0
    for line in process.stdout:
        if line.startswith('C '):
            last = int(line.split()[1])
        if last > points:
            process.kill()
            break
    process.wait()
    rows = [['flipped bit in', 'flips', 'harmless', 'a row set aside', 'file set aside and salvaged', 'fixes lost, max', 'mean',
             'end of the log lost', 'wrong content', 'refused to open', 'silent']]
    for name, origin, ending in (('the file', closed, ''), ('the file, with a log', killed, ''), ('the log', killed, '-wal')):
        contents = {part: origin.with_name(origin.name + part).read_bytes() for part in ('', '-wal', '.seq')
                    if origin.with_name(origin.name + part).exists()}
        trial = folder / 'trial'
        shutil.rmtree(trial, ignore_errors=True)

        def opened(changed, bit):
            shutil.rmtree(trial, ignore_errors=True)
            trial.mkdir()
            for part, data in contents.items():
                if part == changed:
                    data = bytearray(data)
                    data[bit // 8] ^= 1 << bit % 8
                (trial / f'o.db{part}').write_bytes(data)
            done, said = rig(trial / 'o.db', '--check', timeout=60)
            return done, said, any('.corrupt-' in name for name in os.listdir(trial))

        _, said, _ = opened(None, 0)
        whole = int(said['R'][2])
        bits, losses, found = len(contents[ending]) * 8, [], collections.Counter()
        for _ in range(count):
            bit = chance.randrange(bits)
            done, said, aside = opened(ending, bit)
            if 'H' not in said:
                found['refused to open'] += 1
                print(f'refused to open, bit {bit} of {name}: {done.stdout.strip()[-200:]}')
                continue
            lost = whole - int(said['R'][2])
            told = re.search(r'quarantined|salvage|damaged', done.stderr) or aside
            what = ('wrong content' if said['R'][4:] != ['ok'] else 'file set aside and salvaged' if aside else
                    'harmless' if lost == 0 else 'a row set aside' if told else
                    'end of the log lost' if ending == '-wal' else 'silent')
            if what in ('wrong content', 'silent'):
                print(f'{what}: bit {bit} of {name}, {lost} lost: {done.stdout[-200:]} {done.stderr[-300:]}')
            found[what] += 1
            losses.append(max(0, lost))
            good &= what not in ('wrong content', 'silent')
        good &= not found['refused to open']
        rows.append([name, count, *(found[what] for what in rows[0][2:5]), max(losses, default=0),
                     f'{sum(losses) / max(1, len(losses)):.1f}', *(found[what] for what in rows[0][7:])])
    print(f'{points} fixes in the file')
    table(rows)
    return good


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--flips', type=int, metavar='N', help='only N flips in each place (else 500, and all the rest)')
    arguments.add_argument('--seed', type=int, default=1)
    options = arguments.parse_args()
    skip_without(RIG)
    with scope() as (_, folder):
        good = True
        if not options.flips:
            good &= capacity(folder, (0, 1_000_000, 10_000_000))
            good &= sixty_days(folder)
            simulated(folder)
        good &= flips(folder, options.flips or 500, options.seed)
    print('ok' if good else 'FAILED')
    return not good


if __name__ == '__main__':
    sys.exit(main())
