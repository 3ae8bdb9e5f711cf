#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Peers that a replica should never have. Written from docs/wire-protocol.md.

    attacker.py PORT SECONDS WHAT [CERTIFICATE-DIR]

Prints "begun" when the attack is under way and, at its end, a line of numbers:
    opened=... refused=... ended=... open=...

refused are connections that the replica closed before anything was said, ended
those that it closed later, open those that still stood at the end.
"""
import os
import random
import select
import socket
import ssl
import struct
import sys
import time

HELLO, BYE, VOLUME_OPEN, POINT_BEGIN, UNITS, FP_QUERY, COMMIT = \
    1, 4, 16, 19, 20, 21, 23
counts = {"opened": 0, "refused": 0, "ended": 0}


def frame(kind, body=b"", request=0, handle=0, length=None):
    size = len(body) if length is None else length
    return struct.pack("<IHHIHHQ", size, kind, 0, handle, 0, 0, request) + body


def text(s):
    return struct.pack("<H", len(s)) + s.encode()


def hello(role=1):
    body = b"UNDRSTDY" + struct.pack("<HHQB", 1, 1, 0, role) + \
        os.urandom(16) * 2 + struct.pack("<q", time.time_ns()) + \
        text("attacker") + b"\0\0"
    return frame(HELLO, body, 1)


def volume_open(name, blocks=1 << 20):
    body = os.urandom(16) + text(name) + struct.pack(
        "<QQIBQQ", blocks * 4096, 1, 4096, 0, 0, 0) + bytes(32) + bytes(16)
    return frame(VOLUME_OPEN, body, 2)


def tcp(port):
    """From one of many addresses of this host."""
    s = socket.socket()
    s.bind(("127.0.%d.%d" % (random.randrange(1, 9), random.randrange(2, 250)),
            0))
    s.connect(("127.0.0.1", port))
    counts["opened"] += 1
    return s


def anybody():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


def context(directory):
    c = anybody()
    c.load_cert_chain(directory + "/cert.pem", directory + "/key.pem")
    return c


def known(port, directory, first=b""):
    """A session with a good certificate, HELLO said and accepted."""
    s = context(directory).wrap_socket(tcp(port))
    s.sendall(hello())
    answer = s.recv(4096)
    if struct.unpack_from("<H", answer, 4)[0] != 2:
        raise OSError("not accepted")
    if first:
        s.sendall(first)
    s.setblocking(False)
    return s


def is_over(s):
    try:
        return not s.recv(65536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    except OSError:
        return True


def close(s, what):
    counts[what] += 1
    s.close()


class Flood:
    """Keeps up to `most` connections, each made by make() and fed by feed()."""

    def __init__(self, make, feed, most, pause=0.0):
        self.make, self.feed, self.most, self.pause = make, feed, most, pause
        self.open = {}

    def add(self):
        try:
            s = self.make()
        except OSError as e:
            counts["refused"] += 1
            if counts["refused"] <= 3:
                print("refused:", e, flush=True)
            return
        s.setblocking(False)
        self.open[s] = time.monotonic()

    def turn(self):
        for s in select.select(list(self.open), [], [], 0)[0]:
            if is_over(s):
                age = time.monotonic() - self.open.pop(s)
                close(s, "refused" if age < 0.5 else "ended")
        for s in list(self.open):
            try:
                self.feed(s)
            except (ssl.SSLWantWriteError, BlockingIOError):
                pass
            except OSError:
                self.open.pop(s)
                close(s, "ended")

    def run(self, seconds):
        end = time.monotonic() + seconds
        begun = False
        while time.monotonic() < end:
            for _ in range(min(50, self.most - len(self.open))):
                self.add()
            self.turn()
            if not begun:
                print("begun", flush=True)
                begun = True
            time.sleep(max(self.pause, 0.02))
        return len(self.open)


def nothing(_):
    pass


def client_hello():
    """The first half of a real one."""
    out = ssl.MemoryBIO()
    try:
        anybody().wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    except ssl.SSLWantReadError:
        pass
    whole = out.read()
    return whole[:len(whole) // 2]


def midway(port):
    s = tcp(port)
    s.sendall(client_hello())
    return s


def garbage(port):
    s = tcp(port)
    s.sendall(random.choice([b"GET / HTTP/1.1\r\n\r\n", os.urandom(600),
                             b"\x16\x03\x01\xff\xff" + os.urandom(300)]))
    return s


def one_byte(s):
    s.send(b"\0")


def lies(port, directory):
    """What a header says of its body is not so."""
    unit = struct.pack("<IB3xQIIQQ", 56, 0, 0, 1 << 28, 0, 0, 0) + bytes(16)
    s = known(port, directory, random.choice([
        frame(UNITS, length=0xffffffff),
        frame(VOLUME_OPEN, b"x" * 10, 2, length=1 << 20),
        frame(VOLUME_OPEN, b"x" * 400, 2),
        frame(999, length=1 << 30),
        volume_open("lies") + frame(UNITS, unit * 3, handle=1),
        volume_open("lies") + frame(COMMIT, bytes(139), 3, 1),
        frame(FP_QUERY, struct.pack("<QI", 0, 16384), 2, 1),
        frame(BYE, b"\xff" * 690),
        hello(), frame(POINT_BEGIN, bytes(84), handle=1),
        volume_open("..%2f"), volume_open("a/../b"),
        os.urandom(4000),
    ]))
    return s


def asks(port, directory):
    """All the queries that are allowed, and no answer taken."""
    s = known(port, directory, volume_open("asks%d" % random.randrange(99)))
    for i in range(64):
        s.send(frame(FP_QUERY, struct.pack("<QI", i * 16384 % 900000, 16384),
                     3 + i, 1))
    return s


class DeafFlood(Flood):
    def turn(self):
        time.sleep(0.1)


def main():
    port, seconds, what = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    directory = sys.argv[4] if len(sys.argv) > 4 else ""
    floods = {
        "silent": lambda: Flood(lambda: tcp(port), nothing, 400),
        "garbage": lambda: Flood(lambda: garbage(port), nothing, 400),
        "midway": lambda: Flood(lambda: midway(port), nothing, 400),
        "no-hello": lambda: Flood(
            lambda: context(directory).wrap_socket(tcp(port)), nothing, 40),
        "slow": lambda: Flood(
            lambda: known(port, directory, frame(UNITS, length=1 << 20)[:4]),
            one_byte, 60, 0.5),
        "lies": lambda: Flood(lambda: lies(port, directory), nothing, 20),
        "deaf": lambda: DeafFlood(lambda: asks(port, directory), nothing, 30),
    }
    still = floods[what]().run(seconds)
    print(" ".join("%s=%d" % i for i in counts.items()), "open=%d" % still)


main()
