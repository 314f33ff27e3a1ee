"""Watching a resource reaches a server, so it is decided and recorded like everything that does."""

from security.house import House, Line, caller

EVERYTHING = {"notifications": {"resourcesListChanged": True, "resourceSubscriptions": []}}


def _wanted(*uris: str) -> dict[str, object]:
    return {"notifications": {"resourceSubscriptions": list(uris)}}


async def test_each_watched_resource_has_a_durable_allow() -> None:
    """No URI gets to a server by `subscriptions/listen` without a decision of its own.

    Control: unfixed, the server gets the URI and the log holds no request, no decision, no execution.
    """
    house = House()
    task = await house.task()
    await house.gateway.listen(caller(task), _wanted("file:///docs/one", "file:///docs/two"), Line())
    await house.execute.drain()
    assert house.servers[0].listened[0]["notifications"]["resourceSubscriptions"] == [
        "file:///docs/one",
        "file:///docs/two",
    ]
    assert sorted(name for name, _ in house.started()) == ["file:///docs/one", "file:///docs/two"]


async def test_what_could_not_be_read_cannot_be_watched() -> None:
    """A URI that walks out of its prefix, and one that policy refuses, are left out.

    Control: unfixed, `..` passes, because only the prefix is looked at; and conditions of policy are never asked.
    """
    conditional = """
@id("some") @owner("alice") @reason("x")
permit (principal, action, resource) when { context.task.purpose == "another" };
"""
    house = House()
    task = await house.task()
    await house.gateway.listen(caller(task), _wanted("file:///docs/../etc/shadow"), Line())
    house_2 = House(**{"policies/main.cedar": conditional})
    await house_2.gateway.listen(caller(await house_2.task()), _wanted("file:///docs/one"), Line())
    for one in (house, house_2):
        listened = [params["notifications"].get("resourceSubscriptions") for params in one.servers[0].listened]
        assert listened in ([], [[]])


async def test_a_closed_task_watches_nothing() -> None:
    """Authority ends with the task.

    Control: unfixed, the subscription is opened whatever became of the task.
    """
    house = House()
    task = await house.task()
    await house.tasks.close(task.task.id, by="os:alice")
    await house.gateway.listen(caller(task), _wanted("file:///docs/one"), Line())
    assert all(not params["notifications"].get("resourceSubscriptions") for params in house.servers[0].listened)
