"""Near-duplicate photos: a perceptual hash, groups of close hashes, and splits that keep groups.

The same photo is on the web many times: scaled, compressed again, a little brighter. If copies fall
on both sides of a split, a test measures memory. Shape letters: N photos, W words of 64 bits.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 64
"""Pictures are reduced to this side, grey, before they are transformed."""
FREQUENCIES = 16
"""Lowest frequencies kept along each axis: 16 × 16 minus the mean are 255 bits."""
WORDS = 4
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Grey of red, green and blue (ITU-R BT.601)."""

Hashes = NDArray[np.uint64]


def perceptual_hash(picture_HWC: NDArray[np.uint8]) -> Hashes:
    """255 bits of a picture in four words (W,): which low frequencies are above their median.

    The frequencies are those of the 2-D cosine transform (DCT-II) of the grey picture at 64×64, row
    by row, without the mean; the 256th bit is zero. A longer hash than the usual 63 bits, since
    portraits are alike in their lowest frequencies. Different photos differ in some 128 bits;
    most copies that were scaled, compressed or brightened in fewer than 20, cropped ones in more.
    """
    grey_HW = picture_HWC.astype(np.float32) @ LUMA
    height, width = grey_HW.shape
    small = _block_means(height) @ grey_HW @ _block_means(width).T
    spectrum = dctn(small.astype(np.float64), norm="ortho")[:FREQUENCIES, :FREQUENCIES]
    values = np.round(spectrum.ravel()[1:], 2)  # so that no rounding error decides a tie
    bits = np.append(values > np.median(values), False)
    return np.packbits(bits).view(">u8").astype(np.uint64)


def _block_means(length: int) -> NDArray[np.float32]:
    """Matrix (64, length) that means over 64 equal stretches of a line of pixels."""
    edges = np.arange(SIDE + 1) * length / SIDE
    covered = np.clip(edges[:, None] - np.arange(length), 0, 1)  # of each pixel, left of each edge
    return np.asarray(np.diff(covered, axis=0) * SIDE / length, np.float32)


def distance(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """Number of bits in which hashes (..., W) differ."""
    return np.asarray(np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64))


def group(hashes_NW: Hashes, within: int = 15) -> NDArray[np.int64]:
    """A group's number for each photo (N,): photos within `within` bits share one, also by others.

    Exact, without comparing all pairs: hashes that differ in at most d of their 256 bits agree in
    one of d + 1 bands of bits, so only those that agree in a band are compared. A million photos
    at d = 15 have 16 bands of 16 bits. Groups are numbered in the order of their first photos.
    """
    if not 0 <= within < 64 * WORDS:
        raise ValueError(f"within must be from 0 to {64 * WORDS - 1} bits, got {within}")
    unique_UW, unique_of_N = np.unique(hashes_NW, axis=0, return_inverse=True)
    edges = [_close_pairs(unique_UW, key_U, within) for key_U in _bands(unique_UW, within + 1)]
    left, right = (np.concatenate([pair[side] for pair in edges]) for side in (0, 1))
    count = len(unique_UW)
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    _, label_U = connected_components(graph, directed=False)
    label_N = label_U[unique_of_N.reshape(-1)]
    _, first, inverse = np.unique(label_N, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)


def _bands(hashes_UW: Hashes, count: int) -> list[NDArray[np.int64]]:
    """For each of `count` bands of bits, a number for each hash; equal bits have equal numbers."""
    bits = np.unpackbits(hashes_UW.astype(">u8").view(np.uint8), axis=1)
    bands = np.array_split(bits, count, axis=1)
    return [_number_rows(np.packbits(band, axis=1)) for band in bands]


def _number_rows(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The same number for equal rows of bytes."""
    if rows.shape[1] <= 8:
        padded = np.zeros((len(rows), 8), np.uint8)
        padded[:, : rows.shape[1]] = rows
        return padded.view(np.int64)[:, 0]
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _close_pairs(
    hashes_UW: Hashes, key_U: NDArray[np.int64], within: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of hashes with equal keys that differ in at most `within` bits."""
    order = np.argsort(key_U, kind="stable")
    key = key_U[order]
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    here = np.arange(len(key))
    step = 1
    while len(here := here[here + step < len(key)]):
        here = here[key[here] == key[here + step]]
        a, b = order[here], order[here + step]
        close = distance(hashes_UW[a], hashes_UW[b]) <= within
        found.append((a[close], b[close]))
        step += 1
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])


def split(
    ids: Sequence[str],
    groups: Sequence[int] | NDArray[np.int64],
    shares: Mapping[str, float],
    seed: int = 0,
    known: Mapping[str, str] | None = None,
) -> list[str | None]:
    """The split of each photo, the same for a whole group; a function of ids and seed alone.

    ids: photos by content, not by place. shares: the expected share of each split, which sum to 1.
    The SHA-256 of (seed, its smallest id) decides a group's split, so the splits of other groups
    do not move when photos are added. known: splits of an earlier run by id; a group keeps the
    split of its known photos. Where a new photo joins groups of different splits, the new photos
    of that group get None: they may be in neither. Raises ValueError for shares that do not sum to
    1, or unknown splits.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise ValueError(f"shares of splits must sum to 1, got {dict(shares)}")
    known = known or {}
    foreign = sorted(set(known.values()) - set(shares))
    if foreign:
        raise ValueError(f"known splits must be among {list(shares)}, got {foreign}")
    members: dict[int, list[str]] = defaultdict(list)
    for identifier, number in zip(ids, groups, strict=True):
        members[int(number)].append(identifier)
    found: dict[str, str | None] = {}
    for of_group in members.values():
        before = {known[i] for i in of_group if i in known}
        new = before.pop() if len(before) == 1 else None
        if not before and new is None:
            new = _draw(min(of_group), shares, seed)
        found |= {i: known.get(i, new) for i in of_group}
    return [found[i] for i in ids]


def _draw(identifier: str, shares: Mapping[str, float], seed: int) -> str:
    """A split drawn at random by the id's hash; one whose share is 0 is never drawn."""
    digest = hashlib.sha256(f"{seed}/{identifier}".encode()).digest()
    left = int.from_bytes(digest[:8]) / 2**64
    drawn = ""
    for name, share in shares.items():
        if left >= 0 and share > 0:
            drawn = name
        left -= share
    return drawn
