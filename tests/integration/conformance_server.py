"""An MCP server on the official SDK with everything the conformance suite asks for, over streamable HTTP. Run as a program: PORT.

Its words are the suite's own requirements (`@modelcontextprotocol/conformance`, server scenarios).
"""

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = base64.b64encode(
    b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0"
).decode()
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
MODERN_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def _one(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


SCHEMAS: dict[str, dict[str, Any]] = {
    "test_simple_text": EMPTY,
    "test_image_content": EMPTY,
    "test_audio_content": EMPTY,
    "test_embedded_resource": EMPTY,
    "test_multiple_content_types": EMPTY,
    "test_tool_with_logging": EMPTY,
    "test_tool_with_progress": EMPTY,
    "test_error_handling": EMPTY,
    "test_reconnection": EMPTY,
    "test_sampling": _one("prompt"),
    "test_elicitation": _one("message"),
    "test_elicitation_sep1034_defaults": EMPTY,
    "test_elicitation_sep1330_enums": EMPTY,
    "json_schema_2020_12_tool": MODERN_SCHEMA,
}
DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
CHOICES = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
ENUMS: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {"type": "string", "oneOf": CHOICES},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": CHOICES}},
}
PERSON: dict[str, Any] = {"username": {"type": "string"}, "email": {"type": "string"}}
PROMPTS = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
}
RESOURCES = {
    "test://static-text": "text/plain",
    "test://static-binary": "image/png",
    "test://watched-resource": "text/plain",
}


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, mime: str, words: str) -> types.EmbeddedResource:
    inner = types.TextResourceContents(uri=uri, mime_type=mime, text=words)
    return types.EmbeddedResource(type="resource", resource=inner)


async def log_thrice(ctx: Any) -> list[Any]:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message(level="info", data=words, related_request_id=ctx.request_id)
        await asyncio.sleep(0.05)
    return [text("logged")]


async def report_thrice(ctx: Any) -> list[Any]:
    for step in (0, 50, 100):
        await ctx.session.report_progress(step, 100)
        await asyncio.sleep(0.05)
    return [text("progressed")]


async def sample(ctx: Any, prompt: str) -> list[Any]:
    message = types.SamplingMessage(role="user", content=text(prompt))
    reply = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return [text(f"LLM response: {reply.content.text}")]


async def elicit(ctx: Any, message: str, properties: dict[str, Any]) -> list[Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    reply = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return [text(f"Elicitation completed: action={reply.action}, content={json.dumps(reply.content)}")]


async def fail() -> list[Any]:
    raise RuntimeError("This tool intentionally returns an error for testing")


async def plain(*content: Any) -> list[Any]:
    return list(content)


def work(ctx: Any, name: str, arguments: dict[str, Any]) -> Awaitable[list[Any]]:
    """What a tool does."""
    mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    known: dict[str, Callable[[], Awaitable[list[Any]]]] = {
        "test_simple_text": lambda: plain(text("This is a simple text response for testing.")),
        "test_image_content": lambda: plain(image()),
        "test_audio_content": lambda: plain(types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")),
        "test_embedded_resource": lambda: plain(
            embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
        ),
        "test_multiple_content_types": lambda: plain(text("Multiple content types test:"), image(), mixed),
        "test_tool_with_logging": lambda: log_thrice(ctx),
        "test_tool_with_progress": lambda: report_thrice(ctx),
        "test_error_handling": fail,
        "test_reconnection": lambda: plain(text("still there")),
        "test_sampling": lambda: sample(ctx, arguments["prompt"]),
        "test_elicitation": lambda: elicit(ctx, arguments["message"], PERSON),
        "test_elicitation_sep1034_defaults": lambda: elicit(ctx, "Defaults", DEFAULTS),
        "test_elicitation_sep1330_enums": lambda: elicit(ctx, "Enums", ENUMS),
        "json_schema_2020_12_tool": lambda: plain(text(json.dumps(arguments))),
    }
    return known[name]()


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    try:
        content = await work(ctx, params.name, params.arguments or {})
    except RuntimeError as error:
        return types.CallToolResult(content=[text(str(error))], is_error=True)
    return types.CallToolResult(content=content)


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[types.Tool(name=name, description=name, input_schema=schema) for name, schema in SCHEMAS.items()]
    )


async def list_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
    prompts = [
        types.Prompt(
            name=name,
            description=name,
            arguments=[types.PromptArgument(name=argument, required=True) for argument in arguments],
        )
        for name, arguments in PROMPTS.items()
    ]
    return types.ListPromptsResult(prompts=prompts)


async def get_prompt(ctx: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    given = params.arguments or {}
    content: dict[str, list[Any]] = {
        "test_simple_prompt": [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": [
            text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
        ],
        "test_prompt_with_embedded_resource": [
            embedded(given.get("resourceUri", ""), "text/plain", "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image": [image(), text("Please analyze the image above.")],
    }
    messages = [types.PromptMessage(role="user", content=part) for part in content[params.name]]
    return types.GetPromptResult(messages=messages)


async def list_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
    resources = [
        types.Resource(uri=uri, name=uri.removeprefix("test://"), description=uri, mime_type=mime)
        for uri, mime in RESOURCES.items()
    ]
    return types.ListResourcesResult(resources=resources)


async def list_templates(ctx: Any, params: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(uri_template="test://template/{id}/data", name="template", description="template")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if uri == "test://static-binary":
        return types.ReadResourceResult(contents=[types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)])
    words = "This is the content of the static text resource."
    mime = "text/plain"
    if uri.startswith("test://template/"):
        identity = uri.split("/")[3]
        words = json.dumps({"id": identity, "templateTest": True, "data": f"Data for ID: {identity}"})
        mime = "application/json"
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=mime, text=words)])


async def complete(ctx: Any, params: Any) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=["testing", "tested"], total=2, has_more=False))


async def nothing(ctx: Any, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


def server() -> Server[Any]:
    return Server(
        "conformance",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=nothing,
        on_unsubscribe_resource=nothing,
        on_set_logging_level=nothing,
        on_completion=complete,
    )


def legacy_only(app: Any) -> Any:
    """The same server as before 2026-07-28: it knows no request with its own metadata."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and any(value == b"2026-07-28" for _, value in scope["headers"]):
            body = json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "unknown version"}})
            await send(
                {"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]}
            )
            await send({"type": "http.response.body", "body": body.encode()})
            return
        await app(scope, receive, send)

    return guarded


if __name__ == "__main__":
    _app = server().streamable_http_app()
    if "legacy" in sys.argv:
        _app = legacy_only(_app)
    uvicorn.run(_app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
