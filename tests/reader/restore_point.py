#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Restores a point from a store with an exported key, and nothing else.

    restore_point.py STORE KEY [POINT [IMAGE]]

POINT is a sequence, EPOCH:SEQUENCE, a label or "latest"; without IMAGE the
points are listed. Written from docs/store-format.md alone, whose sections are
named below; it shares no code with the programs, and takes no word of the
catalog. Everything is verified, and whatever does not hold ends it: exit 1.
"""
import bisect, collections, hashlib, hmac, mmap, os, struct, sys, uuid
import lz4.block, xxhash, zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BLOCK, ZERO_FP = 4096, b"\1" + bytes(15)
VOLUME, DELTA, UNITS, PART, POINT, EPOCH, DISCARD, _, GROUP_POINT = range(1, 10)
U64 = 2**64 - 1


class Refused(Exception):
    pass


def need(holds, what):
    if not holds:
        raise Refused(what)


def xxh(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, *parts):
    return hmac.digest(key, b"".join(parts), "sha256")[:16]


def hkdf(key, salt, info):
    return HKDF(SHA256(), 32, salt, info).derive(key)


def text(field):
    return field.rstrip(b"\0").decode()


def read_key(path):                                             # section 6
    lines = [line.split() for line in open(path) if line.strip()]
    words, values = zip(*((l[0].lower(), "".join(l[1:])) for l in lines))
    former = len(words) // 2 - 3
    need(words == ("understudy-key", "name", "uuid") + ("id", "key") *
         (1 + former) + ("check",) and values[0] == "12"[former > 0],
         "not an exported key")
    keys = {int(number): bytes.fromhex(key)
            for number, key in zip(values[3:-1:2], values[4:-1:2])}
    said = "understudy-key %s\nname %s\nuuid %s\n" % (
        values[0], values[1], values[2].lower())
    said += "".join("id %d\nkey %s\n" % (n, keys[n].hex(" ", 4))
                    for n in sorted(keys, reverse=True))
    need(sha(said.encode())[:8].hex() == values[-1].lower(),
         "the key is mistyped")
    return uuid.UUID(values[2]).bytes, keys


class Segment:                                                  # sections 3, 4
    def __init__(self, path, store, volume):
        self.path, fd = path, open(path, "rb")
        self.data = mmap.mmap(fd.fileno(), 0, access=mmap.ACCESS_READ)
        h = self.data[:128]
        self.id, (self.number,) = h[48:64], struct.unpack("<Q", h[64:72])
        need(h[:16] == b"UStdySeg" + struct.pack("<II", 1, 128) and
             xxh(h[:120]) == struct.unpack("<Q", h[120:])[0] and
             h[16:48] == store + volume and
             os.path.basename(path) == "%s.seg" % uuid.UUID(bytes=self.id),
             path + ": not a segment of the volume")
        self.deltas = {}

    def records(self):
        """(offset, type, flags, body, length); the end is self.end."""
        self.end, base = 128, xxh(self.id)
        while self.end + 32 <= len(self.data):
            head = self.data[self.end:self.end + 32]
            magic, kind, flags, n, _, body_sum, head_sum = struct.unpack(
                "<4sHHIIQQ", head)
            seed, padded = (base + self.end) & U64, (n + 7) & ~7
            body = self.data[self.end + 32:self.end + 32 + padded]
            if magic != b"URec" or xxh(head[:24], seed) != head_sum or \
               n > 2**26 or len(body) < padded or xxh(body, seed) != body_sum:
                return
            yield self.end, kind, flags, body[:n], 32 + padded
            self.end += 32 + padded


class Part:                                                     # section 7
    def __init__(self, body, segment, offset, length):
        self.place = segment.id, offset, length
        need(len(body) >= 104, "short part")
        (self.data, self.lo, self.hi, self.ordinal, self.blocks, _, e, d, p,
         _, self.hash) = struct.unpack("<16sQQQQQIIII32s", body[:104])
        need(1 <= e <= 2**20 and 1 <= d <= 2**16 and p == (e + 127) // 128 and
             len(body) == 104 + 88 * d + 24 * p + 40 * e, "part's counts")
        pages, entries = 104 + 88 * d, 104 + 88 * d + 24 * p
        need(self.hash == sha(b"understudy-part\1", body[:72],
                              body[104:entries]), "part's hash")
        self.deltas = list(struct.iter_unpack("<I84s", body[104:pages]))
        self.entries = list(struct.iter_unpack("<QQQIIII", body[entries:]))
        for i in range(p):
            first, digest = struct.unpack_from("<Q16s", body, pages + 24 * i)
            page = body[entries + 5120 * i:entries + 5120 * (i + 1)]
            need(digest == sha(page)[:16] and
                 first == self.entries[128 * i][0], "page of a part")
        end = self.lo
        for first, _, _, count, _, _, delta in self.entries:
            need(first >= end and count and delta < d, "order of entries")
            end = first + count
        need((self.lo, self.hi, self.blocks) == (self.entries[0][0], end,
             sum(e[3] for e in self.entries)), "summary of a part")


class Point:                                                    # section 8
    def __init__(self, body, parts, previous, volume, grouped):
        refs_at = 312 if grouped else 216
        need(len(body) >= refs_at, "short point")
        (uid, self.ordinal, self.epoch, self.seq, _, _, self.size, changed, _,
         _, n, label, before, self.head) = struct.unpack(
             "<16sQQQqqQQQII64s32s32s", body[:216])
        self.label, self.parts = text(label), parts
        self.group, said = None, body[216:refs_at]
        if grouped:
            group, number, members, zero, name = struct.unpack("<16sQII64s",
                                                               said)
            need(any(group) and number > 0 and 1 <= members <= 64 and
                 not zero and text(name), "group of a point")
            self.group = uuid.UUID(bytes=group), number, members, text(name)
        refs = list(struct.iter_unpack("<16sQII32s", body[refs_at:]))
        need((uid, self.ordinal, before) == (volume, previous.ordinal + 1,
             previous.head) and self.seq > 0, "a point does not follow")
        need([(r[:3], r[4]) for r in refs] == [(p.place, p.hash)
             for p in parts] and n == len(refs), "parts of a point")
        need(self.head == sha(b"understudy-head" + (b"\2" if grouped else
                              b"\1"), body[:184], said,
                              *(p.hash for p in parts)), "head of a point")
        need(changed == BLOCK * sum(p.blocks for p in parts), "changed bytes")


class Start:
    ordinal, head, parts = 0, bytes(32), []


class Volume:                                                   # section 10
    def __init__(self, store, uid):
        meta = open(os.path.join(store, "store.meta"), "rb").read()
        need(len(meta) == 64 and meta[:12] == b"UStdySto\1\0\0\0" and
             xxh(meta[:56]) == struct.unpack("<Q", meta[56:])[0],
             "store.meta does not verify")
        where = os.path.join(store, "volumes", str(uuid.UUID(bytes=uid)))
        self.uid, self.points, self.epochs, self.doubts = uid, [], {}, []
        self.segments, staged = {}, []
        for name in os.listdir(where):
            try:
                s = Segment(os.path.join(where, name), meta[16:32], uid)
                self.segments[s.id] = s
            except (Refused, ValueError, struct.error) as e:
                self.doubts.append(str(e))
        for s in sorted(self.segments.values(), key=lambda s: s.number):
            for record in s.records():
                try:
                    staged = self.take(s, staged, *record)
                except Refused as e:        # nor can anything after it
                    self.doubts.append("%s: offset %d: %s" %
                                       (s.path, record[0], e))
                    return
            last = s
        if last.end != len(last.data):
            self.doubts.append("%s: what is at offset %d is no record" %
                               (last.path, last.end))

    def take(self, s, staged, offset, kind, flags, body, length):
        newest = self.points[-1] if self.points else Start
        if kind == DELTA:
            index, _, delta = struct.unpack("<II84s", body)
            need(s.deltas.setdefault(index, delta) == delta, "delta's index")
        elif kind == PART:
            part = Part(body, s, offset, length)
            need(part.ordinal == newest.ordinal + 1, "a part does not follow")
            return staged + [part]
        elif kind in (POINT, GROUP_POINT):
            self.points.append(Point(body, staged, newest, self.uid,
                                     kind == GROUP_POINT))
            return []
        elif kind == EPOCH:
            uid, epoch, parent, seq, _, head = struct.unpack(
                "<16sQQQq32s", body)
            need(uid == self.uid and epoch > parent, "an epoch")
            self.epochs[epoch] = parent, seq, head
            return []
        elif kind == DISCARD:
            return []
        else:
            need(kind in (VOLUME, UNITS) or flags & 1, "unknown record")
        return staged

    def line(self, point):                                      # section 8
        while point:
            own = [p for p in self.points if p.epoch == point.epoch and
                   p.ordinal <= point.ordinal]
            yield from reversed(own)
            parent, seq, head = self.epochs.get(point.epoch, (0, 0, 0))
            point = next((p for p in self.points if (p.epoch, p.seq, p.head)
                          == (parent, seq, head)), None)
            need(point or not parent, "the point an epoch comes from")

    def find(self, word):
        """What is not told apart from a lost commit is not the newest."""
        if word == "latest":
            need(not self.doubts and self.points, "no newest point can be "
                 "told: " + "; ".join(self.doubts))
            return self.points[-1]
        for p in reversed(self.points):
            if word in (str(p.seq), "%d:%d" % (p.epoch, p.seq), p.label):
                return p
        raise Refused("; ".join(self.doubts + [word + ": no such point"]))


class Opener:                                                   # sections 5, 6
    def __init__(self, volume, keys):
        self.volume, self.keys, self.aead = volume, keys, {}
        self.units = collections.Counter()
        self.fp_key = hkdf(keys[min(keys)], None,
                           b"understudy 1 fingerprint key\0" + volume.uid)

    def cipher(self, delta):
        if delta not in self.aead:
            key = self.keys.get(*struct.unpack("<I", delta[32:36]))
            need(delta[:16] == self.volume.uid and key,
                 "sealed with another key")
            key = hkdf(key, delta[36:68],
                       b"understudy 1 delta key\0" + delta[:36])
            need(mac(key, b"understudy 1 delta commitment\0") == delta[68:],
                 "sealed with another key")
            self.aead[delta] = AESGCM(key)
        return self.aead[delta]

    def blocks(self, part, entry):
        """Content of an entry; None: zeros."""
        first, offset, checksum, count, skip, bits, delta = entry
        index, delta = part.deltas[delta]
        segment = self.volume.segments.get(part.data)
        need(segment, "a segment is missing")
        where = "%s: unit at offset %d: " % (segment.path, offset)
        need(segment.deltas.get(index) == delta, where + "its delta")
        n, codec = bits & 0xffffff, bits >> 24
        u = segment.data[offset:offset + n]
        need(len(u) == n >= 56 and codec <= 3, where + "length")
        length, c, z, start, blocks, i, counter, said = struct.unpack(
            "<IB3sQIIQQ", u[:40])
        need(said == checksum == xxh(u[:20] + bytes(4) + u[24:32] + bytes(8) +
                                     u[40:]), where + "checksum")
        need((length, c, z, start, i) == (n, codec, bytes(3), first - skip,
             index) and blocks >= skip + count, where + "it is another one")
        fps = 40 + 16 * blocks if codec else 40
        try:
            plain = self.cipher(delta).decrypt(
                struct.pack("<QI", counter, 0), u[fps:],
                delta[:32] + u[4:20] + u[40:fps])
        except InvalidTag:
            raise Refused(where + "the seal is broken")
        self.units["zero raw lz4 zstd".split()[codec]] += 1
        if codec == 0:
            need(not plain, where + "zeros with content")
            return None
        if codec == 2:
            plain = lz4.block.decompress(plain, uncompressed_size=BLOCK * blocks)
        elif codec == 3:
            plain = zstandard.ZstdDecompressor().decompress(
                plain, max_output_size=BLOCK * blocks)
        need(len(plain) == BLOCK * blocks <= BLOCK * 16, where + "content")
        for b in range(blocks):
            block = plain[BLOCK * b:BLOCK * (b + 1)]
            fp = ZERO_FP if not any(block) else mac(
                self.fp_key, struct.pack("<Q", start + b), block)
            need(u[40 + 16 * b:56 + 16 * b] in (fp, bytes(16)),
                 where + "fingerprint")
        return plain[BLOCK * skip:BLOCK * (skip + count)]


def claim(starts, ends, a, b):
    """Those pieces of [a, b) that nobody has claimed before."""
    i, j = bisect.bisect_left(ends, a), bisect.bisect_right(starts, b)
    pieces, at = [], a
    for start, end in zip(starts[i:j], ends[i:j]):
        if at < start:
            pieces.append((at, start))
        at = max(at, end)
    if at < b:
        pieces.append((at, b))
    starts[i:j], ends[i:j] = [min(starts[i:j] + [a])], [max(ends[i:j] + [b])]
    return pieces


def restore(volume, point, opener, out):                        # section 9
    end = (point.size + BLOCK - 1) // BLOCK
    starts, ends = [], []
    for p in volume.line(point):
        for part in reversed(p.parts):
            for entry in part.entries:
                first, stop = entry[0], min(entry[0] + entry[3], end)
                pieces = claim(starts, ends, first, stop) if first < stop \
                    else []
                plain = opener.blocks(part, entry) if pieces else None
                for a, b in pieces if plain else []:
                    out.seek(a * BLOCK)
                    out.write(plain[(a - first) * BLOCK:(b - first) * BLOCK])
    out.truncate(point.size)


def main(store, key_file, word=None, image=None):
    uid, keys = read_key(key_file)
    volume = Volume(store, uid)
    if not image:
        for p in volume.points if word is None else [volume.find(word)]:
            print(p.ordinal, p.epoch, p.seq, p.size, p.head.hex(), p.label,
                  *("group", *p.group) if p.group else ())
        return
    point, opener = volume.find(word), Opener(volume, keys)
    with open(image + ".part", "wb") as out:
        restore(volume, point, opener, out)
    os.rename(image + ".part", image)
    print(*("%s=%d" % unit for unit in sorted(opener.units.items())))


FAILURES = (Refused, OSError, ValueError, TypeError, RuntimeError,
            struct.error, zstandard.ZstdError)

if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except FAILURES as e:
        sys.exit("restore_point: %s" % e)
