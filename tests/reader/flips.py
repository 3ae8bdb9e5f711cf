#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One bit after the other is flipped in a store; what does the reader say?

    flips.py DIR STRIDE SEED

DIR is as tests/tools/makestore.c leaves it. Of every STRIDE bytes of each
segment and of store.meta one is hit. Every point, and the newest without its
name, must be refused or be what it was; it is counted which.
"""
import collections, glob, io, os, random, sys

sys.dont_write_bytecode = True
import restore_point as reader


def content(directory, word):
    uid, keys = reader.read_key(directory + "/key")
    volume = reader.Volume(directory + "/store", uid)
    point, out = volume.find(word), io.BytesIO()
    reader.restore(volume, point, reader.Opener(volume, keys), out)
    return out.getvalue().ljust(point.size, b"\0")


def judge(directory, wanted, counts):
    for point, image in wanted.items():
        try:
            if content(directory, point) != image:
                return point + " has wrong bytes"
            counts[point != "latest", "kept"] += 1
        except reader.FAILURES:
            counts[point != "latest", "refused"] += 1


def main(directory, stride, seed):
    rnd, stride = random.Random(int(seed)), int(stride)
    wanted = {os.path.basename(i)[:-4].replace("-", ":"): open(i, "rb").read()
              for i in glob.glob(directory + "/*.img")}
    newest = max(wanted, key=lambda p: int(p.split(":")[1]))
    wanted["latest"] = wanted[newest]
    for point, image in wanted.items():
        assert content(directory, point) == image, point
    counts = collections.Counter()
    for path in sorted(glob.glob(directory + "/store/volumes/*/*.seg") +
                       [directory + "/store/store.meta"]):
        for at in range(0, os.path.getsize(path), stride):
            at = min(at + rnd.randrange(stride), os.path.getsize(path) - 1)
            with open(path, "r+b") as f:
                old = os.pread(f.fileno(), 1, at)
                os.pwrite(f.fileno(), bytes([old[0] ^ 1 << rnd.randrange(8)]),
                          at)
                wrong = judge(directory, wanted, counts)
                os.pwrite(f.fileno(), old, at)
            if wrong:
                sys.exit("%s: byte %d flipped: %s" % (path, at, wrong))
    for (named, what), n in sorted(counts.items()):
        print("named" if named else "newest", what, n)


main(*sys.argv[1:])
