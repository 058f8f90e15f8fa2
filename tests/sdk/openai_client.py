"""The openai SDK (Python) as a client of the pool, on Gemini's OpenAI-compatible paths.
The conversation with the test: see lines.py. `generate` and `stream` are other names of `chat` and `chat_stream`."""

import os

import lines

base_url, api_key, by_environment = lines.settings()
base_url += "/v1beta/openai/"
options = {}
if by_environment:
    os.environ["OPENAI_BASE_URL"] = base_url
else:
    options["base_url"] = base_url

from openai import APIStatusError, OpenAI  # noqa: E402  (the environment had to be put in order first)

# No retries of its own, so that what is tested is the pool's failover and not the SDK's.
client = OpenAI(api_key=api_key, max_retries=0, **options)


def messages(call):
    return [{"role": "user", "content": call["prompt"]}]


def chat(call, answer):
    reply = client.chat.completions.create(model=call["model"], messages=messages(call))
    answer.add(reply.choices[0].message.content)
    answer.set(tokens=reply.usage.total_tokens if reply.usage else None)


def chat_stream(call, answer):
    answer.set(tokens=None)
    chunks = client.chat.completions.create(
        model=call["model"], messages=messages(call), stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        answer.add("".join(choice.delta.content or "" for choice in chunk.choices))
        if chunk.usage:
            answer.set(tokens=chunk.usage.total_tokens)


def embed(call, answer):
    # "float", because the SDK asks for base64 by default.
    reply = client.embeddings.create(model=call["model"], input=call["prompt"], encoding_format="float")
    answer.set(values=len(reply.data[0].embedding))


def list_models(_call, answer):
    answer.set(names=[model.id for model in client.models.list()])


lines.serve(
    {
        "generate": chat,
        "stream": chat_stream,
        "chat": chat,
        "chat_stream": chat_stream,
        "embed": embed,
        "list_models": list_models,
    },
    status_of=lambda error: getattr(error, "status_code", None),
    # The SDK finds no message in Google's array-wrapped errors.
    body_of=lambda error: error.response.text if isinstance(error, APIStatusError) else "",
)
