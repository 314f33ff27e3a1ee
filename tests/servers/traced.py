"""A client or a server of the official SDK that traces itself, each in a process of its own.

`traced.py server`: one tool, `ask`, on standard streams. `traced.py client URL TOKEN TOOL TEXT`: one call. `OTLP` names the collector, if there is one.
"""

import asyncio
import os
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
TOOL = {"name": "ask", "description": "Says it back.", "inputSchema": SCHEMA}


def traced(service):
    if "OTLP" not in os.environ:
        return
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{os.environ['OTLP']}/v1/traces")))
    trace.set_tracer_provider(provider)


async def serve():
    import mcp_types as types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server

    async def list_tools(ctx, params):
        return types.ListToolsResult(tools=[types.Tool(**TOOL)])

    async def call_tool(ctx, params):
        text = params.arguments["text"]
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=text == "bad")

    server = Server("traced", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def call(url, token, tool, text):
    import httpx2
    import mcp
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http,
        mcp.Client(streamable_http_client(url, http_client=http), mode="auto") as client,
    ):
        result = await client.call_tool(tool, {"text": text})
        print(result.content[0].text)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        traced("server")
        asyncio.run(serve())
    else:
        traced("client")
        asyncio.run(call(*sys.argv[2:]))
