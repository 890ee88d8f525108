#!/usr/bin/env python3
"""Disk faults of the agent: a full, hanging, dead or read-only disk. The real agent reads a receiver on TCP at 5 fixes per
second and publishes to mosquitto. In each case live positions must continue, the fault and its end must be logged once,
the agent must not exit, and afterwards every fix has arrived or is counted as evicted.

  full     tmpfs of 2 MiB, filled to the last byte with the link cut, and emptied again
  slow     the daemon behind the block device is stopped for some seconds while transactions run
  dead     the same daemon is killed: the card is removed. The outbox's disk never returns
  gone     the card is removed and another, empty one is mounted in its place
  ro       the file system is made read-only, and writable again

Needs root, loop devices, FUSE, qemu-storage-daemon (qemu-utils), e2fsprogs, mosquitto, and the release build.
"""
import argparse, contextlib, fcntl, os, signal, struct, subprocess, sys, time

from parts import (AGENT, MS_RDONLY, MS_REMOUNT, Broker, Receiver, Recorder, Subscriber, ext4, mount, scope, skip_without, start,
                   table, unmount, wait_for)

RATE, FAST = 5, 800  # Fixes per second.


class Van:
    """The agent with its receiver, broker and subscriber."""

    def __init__(self, stack, folder, place, name, commit_after):
        self.name, self.log = name, folder / 'agent.log'
        self.broker, self.receiver = Broker(stack, folder), Receiver(stack, RATE)
        self.subscriber = Subscriber(stack, self.broker.direct, name)
        (folder / 'waypost.toml').write_text(
            f'van.id = "{name}"\nmqtt.broker = "mqtt://127.0.0.1:{self.broker.port}"\n'
            f'mqtt.position_moving_s = 0\nmqtt.position_halted_s = 0\nmqtt.state_s = 1\ntrack.sampling = "raw"\ntrack.batch_s = 0.5\n'
            f'gnss.source = "tcp:127.0.0.1:{self.receiver.port}"\noutbox.path = "{place}/outbox.db"\n'
            f'outbox.tail_path = "{folder}/tail"\noutbox.commit_after_s = {commit_after}\ncontrol.path = ""\n')
        self.process = start(stack, AGENT, 'run', '--config', folder / 'waypost.toml', stderr=open(self.log, 'wb'))
        wait_for(lambda: len(self.subscriber.positions) > RATE, 10, 'live positions')
        self.began, self.silence = time.monotonic(), 0.0

    def cut(self):
        """The link is cut meanwhile; the log counts for the whole time."""
        self.silence = max(self.silence, self.subscriber.longest_silence(self.began))
        self.broker.cut()

    def restore(self):
        self.broker.cut(False)
        before = len(self.subscriber.positions)
        wait_for(lambda: len(self.subscriber.positions) > before, 20, 'a live position')
        self.began = time.monotonic()

    def lines(self, *words):
        return [line for line in self.log.read_text().splitlines() if any(word in line for word in words)]

    def finish(self):
        """Checks that every record has arrived in the end, and returns the row of the table."""
        silence = max(self.silence, self.subscriber.longest_silence(self.began))
        is_alive = self.process.poll() is None
        self.receiver.is_quiet = True
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: not self.missing() and self.subscriber.states
                     and self.subscriber.states[-1]['outbox']['pending'] == 0, 45, 'an empty outbox')
        missing = self.missing()
        dropped = self.subscriber.states[-1]['outbox']['dropped'] if self.subscriber.states else 0
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = 'killed after 10 s'
        return is_alive, silence, missing, dropped, code

    def missing(self):
        numbers = sorted(list(self.subscriber.points))
        return numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0


FAILING, SLOW, WELL = 'outbox write failed', 'outbox write slow', 'outbox write recovered'


def full(stack, folder):
    place = folder / 'disk'
    place.mkdir()
    mount('none', place, 'tmpfs', 0, 'size=2m')
    stack.callback(unmount, place)
    van = Van(stack, folder, place, 'FULL', 0)
    with open(place / 'filler', 'wb', buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b'\xFF' * 4096):
            pass
    # The file and the WAL have room at first: some ten thousand points fit before one of them must grow.
    van.cut()
    van.receiver.rate = FAST
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: van.lines(FAILING), 90, 'a full disk')
    van.receiver.rate = RATE
    time.sleep(5)
    kept = (place / 'outbox.db').stat().st_size // 1024
    van.restore()
    time.sleep(10)
    before = len(van.lines(WELL))
    (place / 'filler').unlink()
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: van.lines(WELL), 40, 'recovery')
    return van, {'allowed_silence': 1.5, 'note': f'outbox.db {kept} KiB; ballast given up {len(van.lines("ballast released"))} times; '
                 + ('wrote again once points had arrived' if before else 'wrote again when there was room')}


def slow(stack, folder):
    disk = Recorder(stack, folder / 'card')
    van = Van(stack, folder, disk.place, 'SLOW', 0)
    for seconds in (2.5, 2.5, 6):
        disk.daemon.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        disk.daemon.send_signal(signal.SIGCONT)
        time.sleep(3)
    return van, {'allowed_silence': 1.5, 'note': 'stopped 2.5, 2.5 and 6 s'}


def dead(stack, folder):
    disk = Recorder(stack, folder / 'card')
    van = Van(stack, folder, disk.place, 'DEAD', 0)
    disk.daemon.kill()
    time.sleep(5)
    van.cut()
    time.sleep(4)
    van.restore()
    time.sleep(6)
    # There is no disk left in the end, and the agent reports that.
    return van, {'allowed_silence': 1.5, 'note': 'never returns; link cut for 4 s meanwhile', 'codes': None}


def gone(stack, folder):
    disk = Recorder(stack, folder / 'card')
    van = Van(stack, folder, disk.place, 'GONE', 0)
    disk.daemon.kill()
    time.sleep(3)
    van.cut()
    time.sleep(3)
    loop, _ = ext4(stack, folder, 'fresh', 16)
    unmount(disk.place, 0.1)
    mount(loop.device, disk.place, 'ext4')
    stack.callback(unmount, disk.place, 1)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: van.lines(WELL), 45, 'recovery')
    van.restore()
    time.sleep(3)
    return van, {'allowed_silence': 1.5, 'note': 'an empty card after 6 s, the link after that'}


def read_only(stack, folder):
    loop, place = ext4(stack, folder, 'card', 16)
    van = Van(stack, folder, place, 'RO', 0)
    # As ext4 does after an error of the card; remounting is refused while files are open for writing.
    shut_down(place)
    time.sleep(8)
    unmount(place, 0.1)
    mount(loop.device, place, 'ext4', MS_RDONLY)
    stack.callback(unmount, place, 1)
    van.cut()
    time.sleep(6)
    mount(loop.device, place, 'ext4', MS_REMOUNT)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: van.lines(WELL), 45, 'recovery')
    van.restore()
    return van, {'allowed_silence': 1.5, 'note': 'shut down 8 s, read-only 6 s with the link away, writable again'}


def shut_down(place):
    """ext4 rejects every write from now on (EXT4_IOC_SHUTDOWN, without writing its log)."""
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, 0x8004587D, struct.pack('<I', 2))
    finally:
        os.close(handle)


CASES = {'full': full, 'slow': slow, 'dead': dead, 'gone': gone, 'ro': read_only}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('cases', nargs='*', metavar='CASE', help=f'of {", ".join(CASES)} (default all)')
    arguments.add_argument('--log', action='store_true', help='show the log of the agent')
    options = arguments.parse_args()
    skip_without('root', 'loop', 'fuse', 'qemu-storage-daemon', 'mkfs.ext4', 'mosquitto', 'mosquitto_sub', AGENT)
    rows = [['fault', 'agent lives', 'longest without a live position', 'said failing', 'said slow', 'recovery logged', 'missing',
             'given up', 'exit', '']]
    failed = False
    for name in options.cases or CASES:
        with scope() as (stack, folder):
            van, expected = CASES[name](stack, folder)
            is_alive, silence, missing, dropped, code = van.finish()
            said = [len(van.lines(word)) for word in (FAILING, SLOW, WELL)]
            if options.log:
                print(van.log.read_text())
            good = is_alive and silence <= expected['allowed_silence'] and missing <= dropped
            good &= 'codes' in expected or code == 0
            failed |= not good
            rows.append([name, is_alive, f'{silence:.1f} s', *said, missing, dropped, code,
                         expected['note'] + ('' if good else ' FAILED')])
    table(rows)
    print('FAILED' if failed else 'ok')
    return failed


if __name__ == '__main__':
    sys.exit(main())
