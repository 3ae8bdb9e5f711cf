#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Where the constants of test_seal.c and test_fingerprint.c come from: the
derivations and the seal of docs/wire-protocol.md written a second time, over
hashlib and hmac, with AES and GHASH in full. Not part of any build; run it by
hand when the scheme changes.
"""
import hashlib
import hmac
import struct


def hkdf(key, salt, info, n=32):
    prk = hmac.new(salt or bytes(32), key, hashlib.sha256).digest()
    out, t, i = b"", b"", 1
    while len(out) < n:
        t = hmac.new(prk, t + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + t, i + 1
    return out[:n]


def gf_double(a):
    a <<= 1
    return a ^ 0x11B if a & 0x100 else a


def make_sbox():
    exp, log, x = [0] * 255, [0] * 256, 1
    for i in range(255):
        exp[i], log[x] = x, i
        x ^= gf_double(x)
    box = [0x63] * 256
    for v in range(1, 256):
        s = inv = exp[(255 - log[v]) % 255]
        for _ in range(4):
            inv = (inv << 1 | inv >> 7) & 0xFF
            s ^= inv
        box[v] = s ^ 0x63
    return box


SBOX = make_sbox()


def aes256_schedule(key):
    w, rcon = [list(key[i:i + 4]) for i in range(0, 32, 4)], 1
    for i in range(8, 60):
        t = list(w[i - 1])
        if i % 8 == 0:
            t = [SBOX[b] for b in t[1:] + t[:1]]
            t[0] ^= rcon
            rcon = gf_double(rcon)
        elif i % 8 == 4:
            t = [SBOX[b] for b in t]
        w.append([a ^ b for a, b in zip(w[i - 8], t)])
    return [sum(w[r * 4:r * 4 + 4], []) for r in range(15)]


def aes_block(keys, block):
    s = [a ^ b for a, b in zip(block, keys[0])]
    for r in range(1, 15):
        s = [SBOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if r < 14:
            m = []
            for c in range(0, 16, 4):
                col, total = s[c:c + 4], s[c] ^ s[c + 1] ^ s[c + 2] ^ s[c + 3]
                m += [col[i] ^ total ^ gf_double(col[i] ^ col[(i + 1) % 4])
                      for i in range(4)]
            s = m
        s = [a ^ b for a, b in zip(s, keys[r])]
    return bytes(s)


def ghash(h, data):
    y = 0
    for i in range(0, len(data), 16):
        x = y ^ int.from_bytes(data[i:i + 16].ljust(16, b"\0"), "big")
        y, v = 0, h
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                y ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return y


def pad16(b):
    return b + bytes(-len(b) % 16)


def gcm_seal(key, nonce, aad, plain):
    ks = aes256_schedule(key)
    h = int.from_bytes(aes_block(ks, bytes(16)), "big")
    out = b""
    for i in range(0, len(plain), 16):
        pad = aes_block(ks, nonce + struct.pack(">I", i // 16 + 2))
        out += bytes(a ^ b for a, b in zip(plain[i:i + 16], pad))
    s = ghash(h, pad16(aad) + pad16(out) +
              struct.pack(">QQ", len(aad) * 8, len(out) * 8))
    mask = aes_block(ks, nonce + struct.pack(">I", 1))
    return out, bytes(a ^ b for a, b in zip(s.to_bytes(16, "big"), mask))


def fp_key(key, volume):
    return hkdf(key, b"", b"understudy 1 fingerprint key\0" + volume)


def fingerprint(key, volume, block, data):
    return hmac.new(fp_key(key, volume), struct.pack("<Q", block) + data,
                    hashlib.sha256).digest()[:16]


class Delta:
    def __init__(self, key, key_id, volume, epoch, seq, salt):
        self.where = volume + struct.pack("<QQ", epoch, seq)
        self.key = hkdf(key, salt, b"understudy 1 delta key\0" + self.where +
                        struct.pack("<I", key_id))
        self.commitment = hmac.new(self.key,
                                   b"understudy 1 delta commitment\0",
                                   hashlib.sha256).digest()[:16]
        self.encoded = (self.where + struct.pack("<I", key_id) + salt +
                        self.commitment)

    def unit(self, codec, first, count, counter, fps, plain):
        """Everything but the checksum, which stays zero."""
        named = struct.pack("<BBHQI", codec, 0, 0, first, count)
        nonce = struct.pack("<Q", counter) + bytes(4)
        body, tag = gcm_seal(self.key, nonce, self.where + named + fps, plain)
        total = 40 + len(fps) + len(body) + 16
        return (struct.pack("<I", total) + named +
                struct.pack("<IQQ", 0, counter, 0) + fps + body + tag)


def self_test():
    # AES-256 of FIPS 197 C.3, and GCM test case 16 of its specification.
    ks = aes256_schedule(bytes(range(32)))
    got = aes_block(ks, bytes.fromhex("00112233445566778899aabbccddeeff"))
    assert got.hex() == "8ea2b7ca516745bfeafc49904b496089", got.hex()
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    _, tag = gcm_seal(key, bytes.fromhex("cafebabefacedbaddecaf888"), aad,
                      plain)
    assert tag.hex() == "76fc6ece0f4e1768cddf8853bb2d551b", tag.hex()
    # RFC 5869, case 1, first 32 bytes.
    okm = hkdf(bytes([0x0B] * 22), bytes(range(13)),
               bytes(range(0xF0, 0xFA)))
    assert okm.hex() == ("3cb25f25faacd57a90434f64d0362f2a"
                         "2d2d0a90cf1a5a4c5db02d56ecc4c5bf"), okm.hex()


def main():
    self_test()
    key, salt = bytes(range(32)), bytes(range(0x80, 0xA0))
    volume = bytes(range(0x40, 0x50))
    data = bytes((i * 7 + 3) & 0xFF for i in range(4096))
    delta = Delta(key, 1, volume, 3, 17, salt)
    print("delta key  ", delta.key.hex())
    print("commitment ", delta.commitment.hex())
    print("fp key     ", fp_key(key, volume).hex())
    for block in (0, 5, 2**51 - 1):
        print("fp", block, fingerprint(key, volume, block, data).hex())
    zero = delta.unit(0, 1000, 50, 0, b"", b"")
    print("zero unit  ", zero.hex())
    raw = delta.unit(1, 5, 1, 1, fingerprint(key, volume, 5, data), data)
    print("raw unit   ", len(raw), raw[:88].hex())
    print("  tag      ", raw[-16:].hex())
    print("  sha256   ", hashlib.sha256(raw).hexdigest())


if __name__ == "__main__":
    main()
