"""A scripted agent on the official MCP client. It does what a model would do, including what it was tricked into."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any


class Agent:
    """One connected client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        """Names of the tools it is shown."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> tuple[bool, str]:
        """(worked, text) of one call."""
        result = await self._client.call_tool(tool, arguments)
        text = "\n".join(part.text for part in result.content if getattr(part, "type", "") == "text")
        return not result.is_error, text


@contextlib.asynccontextmanager
async def connected(url: str, token: str) -> AsyncIterator[Agent]:
    """Connect over streamable HTTP with a task's token."""
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async with (
        create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield Agent(client)
