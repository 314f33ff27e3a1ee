"""RFC 6962 hashing, the frontier and proofs against published vectors."""

import pytest

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.records.merkle import (
    EMPTY_ROOT,
    Frontier,
    FrontierBuilder,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_of,
    verify_consistency,
    verify_inclusion,
)

# The Certificate Transparency reference data (certificate-transparency-go, transparency-dev/merkle).
LEAVES = [
    bytes.fromhex(x)
    for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    bytes.fromhex(x)
    for x in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION = [
    (0, 1, []),
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip
CONSISTENCY = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
    (6, 7, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
]  # fmt: skip
NODES = nodes_of([leaf_hash(x) for x in LEAVES])


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size):
    """The frontier has the published root at every size, grown in place or as a value."""
    builder, value = FrontierBuilder(), Frontier()
    for data in LEAVES[:size]:
        assert builder.append(data) == leaf_hash(data)
        value = value.append(leaf_hash(data))
    assert builder.root() == value.root() == ROOTS[size]
    assert builder.freeze() == value
    assert builder.size == value.size == size


def test_empty_root():
    """The empty tree's root is the hash of nothing."""
    assert ROOTS[0] == EMPTY_ROOT == Frontier().root()


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_published_inclusion_proofs(index, size, path):
    """Inclusion proofs are the published ones and verify."""
    proof = [bytes.fromhex(x) for x in path]
    assert list(inclusion_proof(index, size, NODES)) == proof
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, ROOTS[size])


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCY)
def test_published_consistency_proofs(first, second, path):
    """Consistency proofs are the published ones and verify."""
    proof = [bytes.fromhex(x) for x in path]
    assert list(consistency_proof(first, second, NODES)) == proof
    verify_consistency(first, ROOTS[first], second, ROOTS[second], proof)


def test_frontier_bytes_are_literal():
    """The stored form is size, big-endian, then hashes from large to small."""
    builder = FrontierBuilder()
    for data in LEAVES[:3]:
        builder.append(data)
    stored = (3).to_bytes(8, "big") + ROOTS[2] + leaf_hash(LEAVES[2])
    assert builder.to_bytes() == builder.freeze().to_bytes() == stored
    assert FrontierBuilder.from_bytes(stored).root() == Frontier.from_bytes(stored).root() == ROOTS[3]


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\0" * 7,
        b"\0" * 9,
        (1).to_bytes(8, "big"),
        (3).to_bytes(8, "big") + b"x" * 32,
        b"\x80" + b"\0" * 7 + b"x" * 32,
    ],
)
def test_damaged_frontier_is_refused(stored):
    """A stored frontier whose length does not fit its size is damage."""
    with pytest.raises(StoreError) as caught:
        Frontier.from_bytes(stored)
    assert caught.value.reason is Reason.LOG_DAMAGED


@pytest.mark.parametrize(
    "call",
    [
        lambda: Frontier(1, (b"short",)),
        lambda: Frontier().append(b"data, not a hash"),
        lambda: FrontierBuilder(-1),
        lambda: inclusion_proof(3, 3, NODES),
        lambda: inclusion_proof(-1, 3, NODES),
        lambda: inclusion_proof(0, 0, NODES),
        lambda: consistency_proof(4, 3, NODES),
        lambda: verify_inclusion(ROOTS[1], 0, 1, [b"x"], ROOTS[1]),
        lambda: verify_inclusion(ROOTS[1], 0, 1, [ROOTS[1]], ROOTS[1]),
        lambda: verify_inclusion(ROOTS[1], 0, 2, [], ROOTS[1]),
        lambda: verify_inclusion(ROOTS[1], 1, 1, [], ROOTS[1]),
        lambda: verify_consistency(1, ROOTS[1], 2, ROOTS[2], []),
        lambda: verify_consistency(0, ROOTS[1], 2, ROOTS[2], []),
        lambda: verify_consistency(0, ROOTS[0], 2, ROOTS[2], [ROOTS[1]]),
        lambda: verify_consistency(0, ROOTS[0], 0, ROOTS[1], []),
        lambda: verify_consistency(2, ROOTS[2], 2, ROOTS[3], []),
        lambda: verify_consistency(3, ROOTS[3], 2, ROOTS[2], []),
        lambda: verify_consistency(2, ROOTS[2], 3, ROOTS[3], [leaf_hash(LEAVES[2])] * 2),
    ],
)
def test_malformed_is_refused(call):
    """Impossible sizes, indexes, hashes and proofs raise instead of answering."""
    with pytest.raises(StoreError) as caught:
        call()
    assert caught.value.reason is Reason.LOG_DAMAGED
