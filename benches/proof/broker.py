#!/usr/bin/env python3
"""Tests the agent on a bad link to a real broker: lost, duplicate and reordered records.

    benches/proof/broker.py [--short] [--only NAME,...] [--fixes 1000000] [--vans 8] [--cuts 200] [--restarts 20]

storm     the long one: at random instants mosquitto is restarted and the link cut, by a reset, in the middle of a
          message, or unnoticed by both sides, while the vans continue; each numbered record must arrive, in the order
          of its queue
acl       the broker's access list rejects `track` for a while: no record may leave the outbox
nobody    there is no subscriber, and `mqtt.require_subscriber` is on: no record may leave the outbox
queue     the backend is offline and the broker's queue for it is full: the losses that the agent can detect or not
killed    a control that must lose records: the broker is killed with -9 before it has saved acknowledged messages
twin      a second agent with the same van.id: whether they fight; as a control, two clients that do
withheld  PUBACKs are withheld on a link that seems to work
expired   the broker's certificate has expired by the receiver's time, and is renewed on disk (two minutes; not --short)
early     the certificate is not valid yet by the receiver's time, and becomes valid
week      a week at 1 Hz without a broker, sampled as by default and raw: memory, and the time until the van is visible

Numbers are counted from the first to the last, so every missing record is detected; `lost` counts numbered records that
are neither at the backend nor in the outbox in the end. Needs mosquitto, openssl and the release build. No root.
"""
import argparse, collections, contextlib, random, sys, threading, time, traceback

from parts import AGENT, scope, skip_without, wait_for
from stages import RAW, Failed, account, acl, early, expired, killed, nobody, pending, promise, queue, settled, twin, withheld
from wire import PERSISTENT, Backend, Feed, Mosquitto, Van, Wire


def cut(pair, chance):
    """Ends the connection in one of three ways, and returns its name."""
    how = chance.choice(('reset', 'in a message', 'in a message', 'unnoticed'))
    if how == 'reset':
        pair.reset()
    elif how == 'unnoticed':
        pair.is_hole = True
    else:
        pair.budget = chance.randrange(1, 3000)
    return how


def cutter(wire, seed, cuts, kinds):
    """Cuts the wire this number of times, each after a random delay."""
    chance = random.Random(seed)
    while cuts:
        with contextlib.suppress(TimeoutError):
            wait_for(wire.current, 120, 'a connection')
            # From the middle of CONNACK and backlog to the quiet after it.
            time.sleep(chance.choice((chance.uniform(0, 0.1), chance.uniform(0, 1), chance.uniform(0, 4))))
            if pair := wire.current():
                kinds[cut(pair, chance)] += 1
                cuts -= 1
                wait_for(lambda: not pair.is_open, 30, 'the end of it')


def restart(broker, wires, options):
    chance = random.Random(options.seed)
    for _ in range(options.restarts):
        wait_for(lambda: any(wire.current() for wire in wires), 120, 'any connection')
        time.sleep(chance.uniform(0, 5))
        broker.end()
        time.sleep(chance.uniform(0, 3))
        broker.start()
        time.sleep(chance.uniform(2, 4) if options.short else chance.uniform(10, 20))


def storm(stack, folder, options, rows):
    cuts, each = options.cuts // options.vans, options.fixes // options.vans
    broker = Mosquitto(stack, folder / 'broker', PERSISTENT.format(folder / 'broker') + 'autosave_interval 1\n')
    backend = Backend(stack, broker.port)
    # Between two connections the agent waits up to half a minute.
    pace = each / ((cuts + options.restarts) * (7 if options.short else 13))
    vans, wires, kinds = [], [], collections.Counter()
    for number in range(options.vans):
        wires.append(Wire(stack, broker.port))
        feed = Feed(stack, each, pace, seed=options.seed * 100 + number)
        vans.append(Van(stack, folder, f'STORM-{number}', wires[-1].port, feed,
                        RAW + 'mqtt.ack_timeout_s = 5\ntrack.batch_s = 0.5'))
    cutters = [threading.Thread(target=cutter, args=(wire, options.seed * 1000 + number, cuts, kinds), daemon=True)
               for number, wire in enumerate(wires)]
    for thread in cutters:
        thread.start()
    restart(broker, wires, options)
    for thread in cutters:
        thread.join()
    resident = max(van.resident_kib() for van in vans)
    for van in vans:
        van.feed.hurry()
    for van in vans:
        with contextlib.suppress(TimeoutError):
            wait_for(lambda van=van: van.feed.said == each, 600, f'{van.name}: the feed')
            settled(van, backend, 180)
    given, arrived, lost, left, panics = map(sum, zip(*(account(van, backend) for van in vans)))
    said = sum(van.feed.said for van in vans)
    rows.append([('fixes', said), ('numbered', given), ('arrived', arrived), ('lost', lost),
                 ('duplicates after deduplication', backend.reused), ('reordered', backend.reordered),
                 ('left in the outbox', left), ('came twice', backend.twice), ('restarts', options.restarts),
                 ('cuts', ', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))),
                 ('connections', sum(len(wire.accepted) for wire in wires)), ('panics', panics), ('resident KiB', resident)])
    promise(given == said, 'a fix without a number')
    promise(not (lost or left or backend.reused or backend.reordered), 'lost, left, duplicate or out of order')


def sampled_week(stack, folder, options, sampling, rows):
    fixes = 20_000 if options.short else 604_800
    broker = Mosquitto(stack, folder / 'broker', 'max_queued_messages 0')
    backend, wire = Backend(stack, broker.port), Wire(stack, broker.port)
    wire.is_away = True
    feed = Feed(stack, fixes, None, seed=options.seed)
    van = Van(stack, folder, 'WEEK', wire.port, feed, f'track.sampling = "{sampling}"')
    resident = []
    for share in (0.01, 0.5, 1.0):
        wait_for(lambda: feed.said >= share * fixes, 900, 'the week')
        resident.append(van.resident_kib())
    # The last fixes are accepted, and the attempts pause as after a week.
    time.sleep(4 if options.short else 12)
    resident[-1] = max(resident[-1], van.resident_kib())
    wire.away(False)
    back = time.monotonic()
    wait_for(lambda: wire.accepted, 60, 'a connection')
    connected = wire.accepted[0]
    wait_for(lambda: backend.positions['WEEK'], 60, 'a position')
    seen = backend.positions['WEEK'][0][0] - connected
    wait_for(lambda: pending(backend, van) == 0, 300, 'the drain')
    drained, after = time.monotonic() - connected, van.resident_kib()
    code, left, panics = van.finish()
    time.sleep(0.5)
    known, dropped = backend.points['WEEK'], backend.states['WEEK'][-1][1]['outbox']['dropped']
    missing = feed.said - len(known) if sampling == 'raw' else 0
    rows.append([('sampling', sampling), ('fixes', feed.said), ('points', len(known)),
                 ('resident KiB at 1 %, half, all, drained', ', '.join(map(str, (*resident, after)))),
                 ('pause until CONNACK', f'{connected - back:.1f} s'), ('CONNACK to position', f'{seen * 1000:.0f} ms'),
                 ('drained in', f'{drained:.0f} s'), ('lost', missing), ('dropped', dropped), ('left', left),
                 ('reordered', backend.reordered)])
    # The last stretch is decided when the agent stops.
    left -= sampling == 'bounded' and left == 1
    promise(not (code or panics or missing or left or dropped or backend.reordered or backend.reused),
            'lost, left, dropped or out of order')
    promise(seen <= 1, f'{seen:.1f} s until the first position')
    promise(max(resident) - resident[0] <= 2048, f'memory grows: {resident}')


def week(stack, folder, options, rows):
    for sampling in ('bounded', 'raw'):
        (folder / sampling).mkdir()
        sampled_week(stack, folder / sampling, options, sampling, rows)


SCENARIOS = (storm, acl, nobody, queue, killed, twin, withheld, expired, early, week)


def one(scenario, options):
    """Runs a stage and returns (success, message)."""
    rows, began, error = [], time.monotonic(), ''
    name = scenario.__name__
    try:
        with contextlib.ExitStack() as stack:
            folder = options.folder / name
            folder.mkdir()
            scenario(stack, folder, options, rows)
    except (Failed, TimeoutError) as failure:
        error = str(failure)
    except Exception:
        error = traceback.format_exc(limit=3)
    lines = [f'{name:9} {"FAILED: " + error if error else "ok"}  ({time.monotonic() - began:.0f} s)']
    lines += ['          ' + '; '.join(f'{what} {value}' for what, value in row) for row in rows]
    sys.stdout.write('\n'.join(lines) + '\n')
    sys.stdout.flush()
    if error and options.keep:
        for log in (options.folder / name).rglob('*.log'):
            print(log, log.read_text()[-1500:], sep='\n')
    return not error


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--short', action='store_true', help='run less of each, in parallel, within a minute, for CI')
    arguments.add_argument('--only', default='', help='run only these stages, separated by commas')
    arguments.add_argument('--fixes', type=int, default=1_000_000)
    arguments.add_argument('--vans', type=int, default=8)
    arguments.add_argument('--cuts', type=int, default=200)
    arguments.add_argument('--restarts', type=int, default=20)
    arguments.add_argument('--seed', type=int, default=1)
    arguments.add_argument('--keep', action='store_true', help='print the logs of failed stages')
    options = arguments.parse_args()
    skip_without('mosquitto', 'openssl', AGENT)
    chosen = [scenario for scenario in SCENARIOS if not options.only or scenario.__name__ in options.only.split(',')]
    if options.short:
        options.fixes, options.vans, options.cuts, options.restarts = 40_000, 4, 8, 2
        chosen = [scenario for scenario in chosen if scenario is not expired]
    results = []
    with scope() as (stack, options.folder):
        # Each stage has its own broker and folder. The long one runs alone, because it needs the whole machine.
        alone = [scenario for scenario in chosen if not options.short and scenario in (storm, week)]
        threads = [threading.Thread(target=lambda it=it: results.append(one(it, options)))
                   for it in chosen if it not in alone]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results += [one(scenario, options) for scenario in alone]
    print('ok' if all(results) else 'FAILED')
    return not all(results)


if __name__ == '__main__':
    sys.exit(main())
