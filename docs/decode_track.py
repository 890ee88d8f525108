#!/usr/bin/env python3
"""Reference decoder of compact `track` messages (docs/compact.md): binary, or lines of hexadecimal, to lines of JSON.

    mosquitto_sub -V 5 -h broker -t fleet/v1/VAN-042/track -F %x | docs/decode_track.py VAN-042
"""
import datetime, json, struct, sys, zlib

QUALITY = ["gps", "dgps", "pps", "rtk", "rtk_float", "estimated"]
MOTION = [None, "moving", "halted"]
ALTITUDE, ELLIPSOID, SPEED, COURSE, HDOP, SATS, ACCURACY = (1 << bit for bit in range(7))
SEQ_STEP, MS_STEP, HAS, LABELS, GEOID, DOP, USED, SPREAD, LAT, LON, PACE, TURN, HEIGHT, ODO = range(14)


def need(right, what):
    if not right:
        raise ValueError(what)


class Batch:
    def __init__(self, data):
        magic, version, crc, length, self.seq, self.count, _ = struct.unpack_from("<3sBIHQBB", data)
        need(magic == b"WpB" and version in (1, 2), "not a batch of version 1 or 2")
        need(20 < length <= len(data) and zlib.crc32(data[8:length]) == crc, "damaged")
        self.bits, self.left = int.from_bytes(data[20:length], "big"), 8 * (length - 20)
        self.length, self.degree = length, 1e7 if version == 1 else 1e5
        step = 60 if version == 1 else 3
        self.usual = [[guess, 1] for guess in (0, 0, 0, 0, 0, 8, 1, 2, step, step, 20, 40, 4, 2)]

    def take(self, count):
        self.left -= count
        need(self.left >= 0, "ends too early")
        return self.bits >> self.left & (1 << count) - 1

    def residual(self, field):
        total, count = self.usual[field]
        low = next(bits for bits in range(32) if count << bits >= total)
        ones = 0
        while ones < 10 and self.take(1):
            ones += 1
        code = ones << low | self.take(low) if ones < 10 else self.take(self.take(6) + 1)
        if not self.first:
            total, count = total + min(code, 4096), count + 1
            self.usual[field] = [total // 2, count // 2] if count >= 24 else [total, count]
        return code >> 1 ^ -(code & 1)

    def points(self):
        seq, ms, seq_step, ms_step, has, labels, geoid = self.seq, 0, 0, 0, 0, 0, 0
        dop = used = spread = lat = lon = pace = course = height = odo = lat_step = lon_step = 0
        for number in range(self.count):
            self.first, last_ms_step = number == 0, ms_step
            if self.take(1):
                seq_step += self.residual(SEQ_STEP)
                ms_step += self.residual(MS_STEP)
                has += self.residual(HAS)
                labels += self.residual(LABELS)
                geoid += self.residual(GEOID)
            seq, ms = seq + seq_step, ms + ms_step
            if self.take(1):
                dop += self.residual(DOP)
                used += self.residual(USED)
                spread += self.residual(SPREAD)
            near = 1 <= last_ms_step <= 60_000 and 1 <= ms_step <= 60_000
            # Rounded towards zero.
            ahead = lambda step: (abs(step) * ms_step // last_ms_step) * (-1 if step < 0 else 1) if near else 0
            lat_step = ahead(lat_step) + self.residual(LAT)
            lon_step = ahead(lon_step) + self.residual(LON)
            lat, lon = lat + lat_step, lon + lon_step
            if has & SPEED:
                pace += self.residual(PACE)
            if has & COURSE:
                course = (course + self.residual(TURN)) % 3600
            if has & ALTITUDE:
                height += self.residual(HEIGHT)
            odo += self.residual(ODO) + (pace * ms_step // 10_000 if near and labels % 3 == 1 else 0)
            utc = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms)
            yield {
                "seq": seq,
                "ts": utc.isoformat(timespec="milliseconds") + "Z",
                "lat": round(lat / self.degree, 5),
                "lon": round(lon / self.degree, 5),
                "alt_m": height / 10 if has & ALTITUDE else None,
                "speed_mps": pace / 100 if has & SPEED else None,
                "course_deg": course / 10 if has & COURSE else None,
                "acc_m": (spread + (dop + 1) // 2) / 10 if has & ACCURACY else None,
                "hdop": dop / 100 if has & HDOP else None,
                "sats": used if has & SATS else None,
                "mode": 2 + labels // 3 % 2,
                "quality": QUALITY[labels // 6] if labels >= 6 else None,
                "motion": MOTION[labels % 3],
                "odo_m": odo / 10,
            }


def decode(data, van):
    """The first message of `data` as a `track`, and what follows it."""
    need(len(data) >= 6 and data[:2] == b"\xd7W", "not a compact message")
    version, flags, error_dm = struct.unpack_from("<BBH", data, 2)
    need(version == 1 and flags <= 1, f"version {version}, flags {flags}")
    track = {"v": 1, "van": van, "max_error_m": error_dm / 10 if error_dm else None, "points": []}
    rest = data[6:]
    while not track["points"] or rest[:3] == b"WpB":
        batch = Batch(rest)
        for point in batch.points():
            point["backlog"] = True if flags else None
            track["points"].append({key: value for key, value in point.items() if value is not None})
        rest = rest[batch.length:]
    return {key: value for key, value in track.items() if value is not None}, rest


if __name__ == "__main__":
    van = sys.argv[1] if len(sys.argv) > 1 else "unknown"
    data = sys.stdin.buffer.read()
    parts = [data] if data[:1] == b"\xd7" else [bytes.fromhex(line) for line in data.decode().split()]
    for part in parts:
        while part:
            track, part = decode(part, van)
            print(json.dumps(track, separators=(",", ":")))
            part = part.removeprefix(b"\n")
