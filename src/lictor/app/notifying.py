"""Whom a process tells of holds, as its settings say."""

from lictor.app.house import House
from lictor.channels.build import channel_of
from lictor.ports import Safe
from lictor.service.people.notify import Notifier


def notifier_of(house: House, safe: Safe) -> Notifier:
    """The channels of a house; none: nobody is told, and the inbox says what waits."""
    channels = {
        name: (channel_of(settings, safe, house.clock), frozenset(settings.groups))
        for name, settings in house.settings.notify.items()
    }
    return Notifier(channels, url=lambda hold: f"{house.settings.people_url}/holds/{hold}", say=house.say)
