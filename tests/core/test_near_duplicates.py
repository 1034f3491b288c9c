"""Copies are found without comparing all pairs, and never straddle a split."""

import io
import itertools
import math

import numpy as np
import pytest
import skimage.data
from PIL import Image

from raypipe.core.near_duplicates import _block_means, distance, group, perceptual_hash, split

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def as_hashes(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=-1).view(">u8").astype(np.uint64)


def random_bits(count, seed=0):
    return np.random.default_rng(seed).random((count, 256)) < 0.5


def slow_hash(pixels) -> list[bool]:
    """The same hash with plain loops: block means, sums of cosines, and Python's median."""
    grey = pixels @ [0.299, 0.587, 0.114]
    side = grey.shape[0] // 64
    small = np.zeros((64, 64))
    for row, column in np.ndindex(64, 64):
        block = grey[row * side : (row + 1) * side, column * side : (column + 1) * side]
        small[row, column] = block.mean()
    cosine = [[math.cos(math.pi * k * (2 * n + 1) / 128) for n in range(64)] for k in range(16)]
    weight = [math.sqrt((1 if k == 0 else 2) / 64) for k in range(16)]
    values = [
        round(weight[u] * weight[v] * float(np.array(cosine[u]) @ small @ np.array(cosine[v])), 2)
        for u, v in itertools.product(range(16), range(16))
    ][1:]
    median = sorted(values)[127]
    return [value > median for value in values]


def test_the_hash_is_the_one_that_is_described():
    photo = np.ascontiguousarray(skimage.data.astronaut()[:256, 100:356])
    bits = np.unpackbits(perceptual_hash(photo).astype(">u8").view(np.uint8)).astype(bool)
    assert bits[255] == 0
    assert sum(a != b for a, b in zip(bits, slow_hash(photo), strict=False)) <= 2


@pytest.mark.parametrize("size", [(64, 64), (37, 200), (130, 70), (1, 1)])
def test_pictures_of_any_size_are_reduced_by_area(size):
    """The same as cutting each pixel in 64 × 64 and taking means."""
    grey = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    ours = _block_means(size[0]) @ grey.astype(np.float32) @ _block_means(size[1]).T
    enlarged = np.kron(grey, np.ones((64, 64)))  # exact: 64 parts of every pixel
    exact = enlarged.reshape(64, size[0], 64, size[1]).mean((1, 3))
    assert np.abs(ours - exact).max() < 1e-2


def test_copies_are_near_and_other_photos_far():
    photos = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee()]
    hashes = [perceptual_hash(photo) for photo in photos]
    for photo, own in zip(photos, hashes, strict=True):
        image, buffer = Image.fromarray(photo), io.BytesIO()
        image.save(buffer, "JPEG", quality=60)
        copies = [
            np.asarray(Image.open(buffer)),
            np.asarray(image.resize((image.width // 2, image.height // 2))),
            (photo * 0.9).astype(np.uint8),
        ]
        assert max(distance(own, perceptual_hash(copy)) for copy in copies) <= 15
    assert min(distance(a, b) for a, b in itertools.combinations(hashes, 2)) > 80
    flat = np.full((50, 40, 3), 8, np.uint8)
    assert np.array_equal(perceptual_hash(flat), perceptual_hash(flat + 100))


def brute_force(hashes, within):
    label = list(range(len(hashes)))
    for i, j in itertools.combinations(range(len(hashes)), 2):
        if bin(int.from_bytes((hashes[i] ^ hashes[j]).tobytes())).count("1") <= within:
            old, new = label[j], label[i]
            label = [new if x == old else x for x in label]
    return {frozenset(i for i, x in enumerate(label) if x == y) for y in set(label)}


@pytest.mark.parametrize("within", [0, 3, 15, 31, 40])
def test_groups_equal_those_of_all_pairs(within):
    rng = np.random.default_rng(within)
    bits = random_bits(60, within)
    for _ in range(90):  # copies of copies, so that chains arise
        copy = bits[rng.integers(len(bits))].copy()
        copy[rng.choice(256, rng.integers(0, within + 6), replace=False)] ^= True
        bits = np.concatenate([bits, copy[None]])
    hashes = as_hashes(bits[rng.permutation(len(bits))])
    numbers = group(hashes, within)
    found = {frozenset(np.flatnonzero(numbers == n).tolist()) for n in set(numbers.tolist())}
    assert found == brute_force(hashes, within)
    firsts = [numbers.tolist().index(n) for n in range(len(found))]
    assert firsts == sorted(firsts)


def test_no_photos_and_one_photo_have_their_groups():
    assert group(np.empty((0, 4), np.uint64)).tolist() == []
    assert group(as_hashes(random_bits(1))).tolist() == [0]
    with pytest.raises(ValueError, match="from 0 to 255"):
        group(as_hashes(random_bits(1)), 256)


@pytest.mark.slow
def test_many_photos_are_grouped():
    bits = random_bits(200_000)
    bits[100_000:100_500] = bits[:500]
    bits[100_000:100_500, :9] ^= True
    bits[150_000:160_000] = bits[7]  # one picture, ten thousand times
    numbers = group(as_hashes(bits))
    assert np.array_equal(numbers[:500], numbers[100_000:100_500])
    assert len(set(numbers.tolist())) == 200_000 - 500 - 10_000


IDS = [f"photo-{i}" for i in range(5000)]
GROUPS = [i // 3 for i in range(5000)]


def test_a_group_has_one_split_and_shares_are_kept():
    given = split(IDS, GROUPS, SHARES, seed=1)
    for i in range(0, 4998, 3):
        assert len(set(given[i : i + 3])) == 1
    for name, share in SHARES.items():
        deviation = math.sqrt(share * (1 - share) / 1667)
        assert abs(given.count(name) / 5000 - share) < 4 * deviation
    assert given != split(IDS, GROUPS, SHARES, seed=2)


def test_splits_do_not_move_when_photos_are_added_or_shuffled():
    fewer = dict(zip(IDS[:3000], split(IDS[:3000], GROUPS[:3000], SHARES), strict=True))
    order = np.random.default_rng(0).permutation(5000)
    more = split([IDS[i] for i in order], [GROUPS[i] for i in order], SHARES)
    for i, name in zip(order, more, strict=True):
        assert fewer.get(IDS[i], name) == name


def test_a_new_photo_follows_its_group_and_none_joins_two_splits():
    assert split(["b", "a"], [0, 0], SHARES, known={"b": "test"}) == ["test", "test"]
    known = {"a": "train", "b": "test"}
    assert split(["a", "b", "new"], [0, 0, 0], SHARES, known=known) == ["train", "test", None]


def test_shares_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        split(["a"], [0], {"train": 0.8, "test": 0.1})
    with pytest.raises(ValueError, match="known splits"):
        split(["a"], [0], SHARES, known={"a": "dev"})
    assert split(IDS[:50], range(50), {"train": 1.0, "test": 0.0}) == ["train"] * 50
