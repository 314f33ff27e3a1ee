"""One gateway with a story, one gateway without, and one browser, for all tests of this folder."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from browser import house as houses
from browser import story as stories
from browser import window as windows
from browser.bundle import ME
from browser.house import House
from browser.story import Story
from browser.window import Window
from integration.peers import chromium

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker has the browser; one loop has the fixtures."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: LICTOR_IMAGES, or nowhere to stay."""
    folder = os.environ.get("LICTOR_IMAGES", "")
    return Path(folder) if folder else tmp_path_factory.mktemp("images")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield started
        await started.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house() -> AsyncIterator[House]:
    """A gateway that serves; its folder's name is seen in pictures."""
    with tempfile.TemporaryDirectory(prefix="lantern-") as folder:
        async with houses.running(Path(folder)) as served:
            yield served


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def story(house: House) -> AsyncIterator[Story]:
    """What happened there."""
    played = await stories.play(house)
    yield played
    for call in played.waiting:
        call.cancel()


class Open:
    """Opens windows of people who are signed in."""

    def __init__(self, browser: Browser, house: House) -> None:
        self._browser, self._house = browser, house

    def __call__(self, person: str = ME, **how: Any) -> AbstractAsyncContextManager[Window]:
        """A tab; empty `person`: nobody is signed in. Nothing may have gone wrong in it when it is closed."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Window]:
            made = await windows.window(self._browser, self._house.base, **how)
            try:
                if person:
                    await made.sign_in(self._house.secrets[person])
                yield made
                assert made.wrong == []
            finally:
                await made.context.close()

        return opened()


@pytest.fixture(scope="session")
def opened(browser: Browser, house: House) -> Open:
    """How tests get a window at the house."""
    return Open(browser, house)
