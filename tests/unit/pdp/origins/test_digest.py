"""Digests of values: keyed, by kind, and of no use without the key."""

from lictor.pdp.origins.digest import origin_key, value_digest, value_digests


def test_key_kind_and_form_all_count():
    """Another tree of tasks, another kind or another value is another digest."""
    key, other = origin_key(b"k" * 32), origin_key(b"l" * 32)
    digests = {
        value_digest(key, ("email", "a@b.example")),
        value_digest(other, ("email", "a@b.example")),
        value_digest(key, ("text", "a@b.example")),
        value_digest(key, ("email", "a@b.exampl")),
    }
    assert len(digests) == 4
    assert value_digests(key, [("email", "a@b.example")]) == (value_digest(key, ("email", "a@b.example")),)


def test_the_sealing_key_itself_is_not_used():
    """Who learns the digest key opens no payload with it."""
    assert origin_key(b"k" * 32) != b"k" * 32
    assert len(origin_key(b"k" * 32)) == 32


def test_digests_fit_into_row_keys():
    """No blank, so that a row's id has two parts; lone surrogates do not break it."""
    digest = value_digest(origin_key(b"k" * 32), ("text", "\ud800 x"))
    assert len(digest) == 16
    assert not set(digest) & set(" +/=")
