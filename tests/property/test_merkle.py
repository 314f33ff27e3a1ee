"""The Merkle tree against the definition of RFC 6962, written down naively."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.records import merkle
from lictor.records.merkle import (
    Frontier,
    FrontierBuilder,
    consistency_proof,
    inclusion_proof,
    nodes_of,
    verify_consistency,
    verify_inclusion,
)


def mth(leaves):
    """MTH of RFC 6962 section 2.1, recursively, over leaf data."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def grow(leaves):
    tree = FrontierBuilder()
    return tree, [tree.append(data) for data in leaves]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=40), max_size=40), st.data())
def test_frontier_is_the_definition(leaves, data):
    """The frontier's root is always the defined one, also when it was stored and read back on the way."""
    cut = data.draw(st.integers(0, len(leaves)))
    tree, _ = grow(leaves[:cut])
    assert tree.root() == mth(leaves[:cut])
    again = FrontierBuilder.from_bytes(tree.to_bytes())
    for leaf in leaves[cut:]:
        again.append(leaf)
    assert again.root() == mth(leaves)
    assert Frontier.from_bytes(again.to_bytes()).root() == mth(leaves)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_every_inclusion_proof_verifies_for_itself_only(leaves, data):
    """A proof verifies for its own leaf, index, size and root, and never once one of them or a bit of it changes."""
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    _, hashes = grow(leaves)
    proof = inclusion_proof(index, size, nodes_of(hashes))
    root = mth(leaves[:size])
    verify_inclusion(hashes[index], index, size, proof, root)
    for other in range(size):
        if hashes[other] != hashes[index]:
            with pytest.raises(StoreError):
                verify_inclusion(hashes[other], index, size, proof, root)
    for bad in (proof[:-1], (*proof, root)) if proof else ((root,),):
        with pytest.raises(StoreError):
            verify_inclusion(hashes[index], index, size, bad, root)
    for at, value in enumerate(proof):
        changed = (*proof[:at], _flip(value, data.draw(st.integers(0, 255))), *proof[at + 1 :])
        with pytest.raises(StoreError):
            verify_inclusion(hashes[index], index, size, changed, root)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_every_consistency_proof_verifies_for_itself_only(leaves, data):
    """A proof verifies for its two trees, and never for a fork or with a bit of it changed."""
    second = data.draw(st.integers(1, len(leaves)))
    first = data.draw(st.integers(0, second))
    _, hashes = grow(leaves)
    proof = consistency_proof(first, second, nodes_of(hashes))
    old, new = mth(leaves[:first]), mth(leaves[:second])
    verify_consistency(first, old, second, new, proof)
    if first:
        fork = mth([*leaves[: first - 1], leaves[first - 1] + b"!"])
        with pytest.raises(StoreError):
            verify_consistency(first, fork, second, new, proof)
        with pytest.raises(StoreError):
            verify_consistency(first, old, second, _flip(new, 0), proof)
        with pytest.raises(StoreError):
            verify_consistency(first, old, second, new, (*proof, new))
    for at, value in enumerate(proof):
        changed = (*proof[:at], _flip(value, data.draw(st.integers(0, 255))), *proof[at + 1 :])
        with pytest.raises(StoreError):
            verify_consistency(first, old, second, new, changed)


def _flip(value, bit):
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_all_small_trees():
    """Every proof of every tree of up to 33 leaves verifies."""
    leaves = [b"%d" % i for i in range(33)]
    _, hashes = grow(leaves)
    nodes = nodes_of(hashes)
    roots = [mth(leaves[:n]) for n in range(34)]
    for size in range(1, 34):
        for index in range(size):
            verify_inclusion(hashes[index], index, size, inclusion_proof(index, size, nodes), roots[size])
        for first in range(size + 1):
            verify_consistency(first, roots[first], size, roots[size], consistency_proof(first, size, nodes))


def second_preimage_found(hash_of_leaf):
    """Whether a tree of one leaf can pose as a tree of two: its data is the two hashes side by side."""
    left, right = hash_of_leaf(b"a"), hash_of_leaf(b"b")
    return hash_of_leaf(left + right) == sha256(left + right).digest() or hash_of_leaf(
        b"\1" + left + right
    ) == merkle.node_hash(left, right)


def test_control_unprefixed_leaves_are_forgeable():
    """Domain separation: the real leaf hash resists the second preimage, one without the prefix does not."""
    assert not second_preimage_found(merkle.leaf_hash)
    assert second_preimage_found(lambda data: sha256(data).digest())
