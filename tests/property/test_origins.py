"""Origins kept by digest equal a rescan of the whole history, whatever was said, read, forked and looked up."""

import asyncio
import json

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.catalog import CatalogEntry, EffectClass, Watch
from lictor.model.content import Content
from lictor.model.history import Origin
from lictor.model.record import ExecutionEnded, TaskOpened
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.origins.find import values_declared, values_of_result, values_of_text
from lictor.pdp.origins.forms import KINDS, form_of
from lictor.ports import Batch
from lictor.service.history.origins import Origins, opening_values
from lictor.stores.memory import MemoryStore
from store_samples import NOW, batch, started, task

VALUES = [
    "a@b.co", "a@b.com", "xa@b.com", "A@B.com", "https://b.com", "https://b.com/x", "https://b.com/x/y", "b.com", "5", "50", "1,000",
    "1000", "1.5", "/srv/a", "/srv/a/b", "a.txt", "DE89370400440532013000", "133000121212", "13300012121", "Bob", "Bob Lee", "#ops",
    "ops", "\u0430@b.com", "a@b.com\u200b", "2026-07-28",
]  # fmt: skip
LABELS = ["untrusted:web", "confidential", "untrusted:mail"]
GLUE = st.sampled_from([" ", ", ", "\n", ": ", "", " (", ") ", '"', "/", "@", "x"])
values = st.sampled_from(VALUES)
texts = st.lists(st.tuples(values, GLUE), max_size=4).map(lambda parts: "".join(a + b for a, b in parts))
bodies = st.one_of(
    texts.map(lambda text: json.dumps({"content": [{"type": "text", "text": text}]}).encode()),
    st.lists(values, max_size=3).map(lambda found: json.dumps({"rows": found, "n": 50}).encode()),
    texts.map(str.encode),
)
results = st.tuples(st.sampled_from(["root", "child"]), st.sampled_from(["web/fetch", "crm/find"]), bodies, st.sets(st.sampled_from(LABELS)))  # fmt: skip
ENTRY = CatalogEntry(
    server="mail",
    kind=ActionKind.TOOL,
    name="send",
    effect=EffectClass.WRITE,
    watch={kind: Watch(pointer="/v", kind=kind) for kind in KINDS},
)
EVERY = frozenset(KINDS)
EVERYTHING = Content(kinds=EVERY)


def asked(value):
    """A call whose one argument is watched as every kind."""
    return ActionRequest.make(
        id="r", kind=ActionKind.TOOL, server="mail", name="send", arguments=SealedArguments.seal({"v": value}), agent="agent",
        human="alice", task="child",
    )  # fmt: skip


def seen_in(kind, form, found):
    """Whether a whole value is among those of a text."""
    return (kind, form) in set(found)


def piece_of(kind, form, found):
    """The control: whether a value is a piece of one of them."""
    return any(kind == other and form in whole for other, whole in found)


def rescan(history, value, within):
    """Every source and label of a value, by reading all of history again."""
    trusted, declared, read = history
    origins = {}
    for kind in KINDS:
        form = form_of(kind, value)
        sources, labels = set(), set()
        if form is not None:
            if within(kind, form, values_of_text(trusted)):
                sources.add("task")
            if within(kind, form, values_declared(declared)):
                sources.add("declared")
            for _, action, body, marks in read:
                if within(kind, form, values_of_result(body, frozenset(KINDS))[0]):
                    sources.add(f"tool:{action}")
                    labels |= marks
        origins[kind] = Origin(sources=tuple(sorted(sources)), labels=tuple(sorted(labels)))
    return origins


async def recorded(history):
    """The same history, committed record by record; a child task reads some of it."""
    trusted, declared, read = history
    store = MemoryStore()
    origins = Origins(store)
    key = store.fresh_key()
    root = TaskOpened(task=task("root"), opened_by="alice", values=opening_values(key, trusted, declared, EVERY))
    await store.commit(Batch(at_ms=NOW, records=(root,), key=key))
    child = task("child", calls=500)
    child = type(child)(**{name: getattr(child, name) for name in child.__struct_fields__ if name not in {"parents", "agent"}},
                        parents=("root",), agent="other")  # fmt: skip
    # What opens a child was written by a model: none of it is trusted text.
    text = opening_values(key, " ".join(VALUES), tuple(VALUES), EVERY)
    await store.commit(batch(TaskOpened(task=child, opened_by="agent", values=text)))
    for number, (who, action, body, marks) in enumerate(read):
        start = started(f"e{number}", task=who, labels=tuple(marks), request=f"r{number}")
        await store.commit(batch(start))
        found = origins.observe(EVERYTHING, action, "root", body)
        end = ExecutionEnded(execution=f"e{number}", outcome="executed", values=found.values, source=found.source)
        await store.commit(batch(end))
    return origins


def by_digest(history, value):
    """What the gateway would put into the snapshot."""

    async def run():
        origins = await recorded(history)
        return origins.gather(ENTRY, Directory(), asked(value), "root")

    return asyncio.run(run())


histories = st.tuples(texts, st.lists(values, max_size=2).map(tuple), st.lists(results, max_size=5))


def check(history, value, within):
    """The one question: is the index what reading everything again would find?"""
    assert by_digest(history, value) == rescan(history, value, within)


@settings(max_examples=150, deadline=None)
@given(histories, values)
def test_the_index_equals_a_rescan(history, value):
    """Sources and labels of every kind, over a root, its child and every result of both."""
    check(history, value, seen_in)


def test_control_matching_pieces_is_caught():
    """The same check fails for a reference that takes `a@b.co` out of `a@b.com`."""

    @settings(max_examples=150, deadline=None, database=None, phases=[Phase.generate])
    @given(histories, values)
    def broken(history, value):
        check(history, value, piece_of)

    with pytest.raises(AssertionError):
        broken()


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=1, max_size=4), histories)
def test_a_list_shares_sources_and_gathers_labels(items, history):
    """One stranger among known recipients is enough: sources are what all share, labels what any carries."""
    together = by_digest(history, items)
    alone = [by_digest(history, item) for item in items]
    for kind in KINDS:
        assert set(together[kind].sources) == set.intersection(*(set(one[kind].sources) for one in alone))
        assert set(together[kind].labels) == set.union(*(set(one[kind].labels) for one in alone))


@settings(max_examples=100, deadline=None)
@given(histories, results, values)
def test_more_history_never_takes_a_source_or_a_label_away(history, more, value):
    """Origins only grow, so nothing read later can launder a value."""
    trusted, declared, read = history
    before, after = by_digest(history, value), by_digest((trusted, declared, [*read, more]), value)
    for kind in KINDS:
        assert set(before[kind].sources) <= set(after[kind].sources)
        assert set(before[kind].labels) <= set(after[kind].labels)
