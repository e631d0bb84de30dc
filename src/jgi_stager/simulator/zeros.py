"""The true md5 of files that hold nothing but zero bytes, for sizes up to 36 GB.

A large simulated file is sparse: it has its full size and occupies no disk. Its content is therefore zero
bytes, and the md5 that the simulated catalogue advertises for it must be the md5 of exactly that. Hashing
36 GB takes most of a minute, so the values are kept here; the generator draws its large sizes from this
table. `compute_table` is how they were made.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable

_BLOCK = bytes(1 << 20)


def compute_table(sizes: Iterable[int]) -> dict[int, str]:
    """The md5 (32 hex digits) of that many zero bytes, for each size in bytes, in one pass to the largest."""
    digest = hashlib.md5(usedforsecurity=False)
    hashed = 0
    table: dict[int, str] = {}
    for size in sorted(set(sizes)):
        while hashed < size:
            step = min(len(_BLOCK), size - hashed)
            digest.update(memoryview(_BLOCK)[:step])
            hashed += step
        table[size] = digest.copy().hexdigest()
    return table


def nearest_size(size: int) -> int:
    """The size of the table that is closest to ``size`` bytes."""
    at = bisect.bisect_left(SIZES, size)
    around = SIZES[max(0, at - 1) : at + 1]
    return min(around, key=lambda known: abs(known - size))


ZERO_MD5: dict[int, str] = {
    66_247: "f88d99e542e5a38eb3002992422eb32b",
    79_118: "9a5dc359f692ea707e3cc71391c3ac78",
    93_128: "7e4d46c87d39d0eea63f5322ecdf1755",
    115_290: "b5b11b6f3e9e0fb33936c44e7054d5ec",
    138_952: "81b862ec7bbc6cf18f08874616527539",
    168_689: "d2727ea784749672c1eb7128793b207c",
    204_308: "9dba68f05e0e0bbd14e98b42ea11aa21",
    246_005: "371805e8007ef2ddbf2c6852e2b4b61f",
    293_149: "f51b843434c9c9e60ec88832e9356af9",
    355_956: "3bd9b82d851868de467391ac30d01a17",
    433_291: "a9dde3526c0c932c18028bd7fa3bf4c0",
    516_091: "5e179cfea20f24e3d4ff84a9937a2762",
    601_001: "f5b9fa2f6df1f18c12d8d6a7bff4f861",
    744_505: "27be434b005cab86dbb96960bc951983",
    905_415: "ac244f6704ce118d6b58c270bdb0da31",
    1_071_070: "c9e9bd56d45cf37ec3f94535d00384b6",
    1_299_178: "bbd6ec2eff83c4c479b9214f4ca8069a",
    1_579_281: "73c2ab69f035bc2803ba7f08b85fbe11",
    1_925_216: "ac7b0e9efdf2b9815705ed0cd6862d3e",
    2_245_669: "680e31f7d4729e0c3f360848b5756fea",
    2_791_578: "cbdf657d93519a809b2326504044f895",
    3_354_817: "0f5faf57c22176568e37489a4392ebd4",
    3_956_025: "46d556bff5229d6bfd24506174a839c4",
    4_724_942: "0bb951cf00ee80e3ae01c6e35c715209",
    5_711_868: "aaaf9522dba3eb1e1b58ee8dd5838bbf",
    6_864_479: "3917c2a49f9533e0d06aac27955df85b",
    8_243_375: "bb6ee247c7f727c9b59870de6d14654a",
    9_760_923: "bdf2e22f0ca146351f41f2a8e8d2faf8",
    12_240_995: "1e5d453d2a79f9f97326be3749ac6b26",
    14_377_646: "0cf43380d633d7e650263bdcf1cfdd10",
    17_436_928: "aa8e11a010b63d42473ddcfae74aabaf",
    21_251_257: "95195fce9e4b61bcb323549747b94f60",
    24_612_619: "5e7d26254b75b32aeb2ab1ee6b449c67",
    31_205_149: "9272381156df5bdc4c2b80157e88f6d7",
    37_556_907: "8cfe97666f86e5d616a3d2c110730686",
    45_318_375: "cb33537a3389f1ce6acbaa3dcbd4512e",
    52_547_955: "30f42764c769dcc838b39471e1ac2936",
    64_203_512: "60b48c0c480fb1192033185be38127bd",
    78_311_922: "08a5a7f8b699eb6ee4e5a58f00532f9d",
    80_122_313: "48976b02cd3a2e223b4fcf45a25d3e07",
    91_728_465: "67a849ef495a9adc738c33c7d820dc06",
    114_407_865: "d31df643ee2ff73f16aed1a013243969",
    132_740_296: "129ca16c15ec76761120ffdd4dcb9b6e",
    160_774_801: "224b4096c3deaee0344673f101305160",
    192_848_305: "893934012a309027364fc3ad31a1079e",
    235_812_845: "98d7b9e1b20d30b509750f603a16c0ca",
    282_123_045: "3ae2469c5d8f7ff2ce76a73c227701ca",
    350_013_111: "eef7e2c119f41174a7919cc959bdd62a",
    405_193_238: "13e105f5388060c5dd856751f9c7adad",
    506_325_786: "78b22f1441e92c0783f14a61b2a460d3",
    611_863_600: "cdad9a7b386245945533d039e5628885",
    716_503_382: "7fcf0b27ab218e16cfb9f0bba3361fab",
    874_530_676: "bb82fa092fdaa18237da3bf1efe00845",
    1_048_335_833: "6b62331b778c004dc1a1e8e23f5c937c",
    1_257_202_128: "474f9ccd740d4cdeb2ef62d4c7eeb802",
    1_498_651_235: "aade95660baa4fb0b12a308f6a0a87b4",
    1_781_614_378: "71488b49fa50b0459f6e6bb2fe8401c9",
    2_256_152_131: "5e04e0e9699fc618d21cc18653d33a9f",
    2_627_842_586: "54410cd798ab03e623c28ce559297ddf",
    3_263_707_061: "62a06e2062af2fc33afcd52aa3f949b3",
    3_790_594_743: "83cca7aa02aa727c398d4fd5cf8cc42f",
    4_672_044_762: "5913e287bf2804e007b8c63322891c80",
    5_489_255_497: "c2932addb732a19fb9b15e85f55f9854",
    6_913_708_531: "333a67bacc4a2cee7ac3815afcce026a",
    7_928_676_001: "89c92f38be95acc24e2db62e6c940b77",
    9_998_409_232: "b0b8c4ce450fd86cdbb821b491fabada",
    11_730_897_394: "c552a83b940aa78ca082eeac894133fe",
    13_987_451_884: "2a0ff3277d1c5f6a185eeb524e410748",
    17_567_782_109: "2ab0783b97f2e07d48cb047f9a4182c1",
    20_075_990_879: "e9292ed9892e4bf9937e2ff04ec85386",
    25_151_092_953: "e6bed217f4ce9bf2cbc2e47e55d20037",
    29_381_023_522: "75b53cd4f6fdb8ccdda3a3fb6bfe180e",
    36_186_712_801: "f6a8a1042b1e888bc62869213b599c38",
}
"""Size in bytes to the md5 of that many zero bytes."""

SIZES: tuple[int, ...] = tuple(sorted(ZERO_MD5))
