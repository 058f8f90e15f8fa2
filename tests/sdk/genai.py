"""google-genai (Python) as a client of the pool. The conversation with the test: see lines.py."""

import os
import tempfile

import lines

base_url, api_key, by_environment = lines.settings()
options = {}
if by_environment:
    os.environ["GOOGLE_GEMINI_BASE_URL"] = base_url
else:
    options["base_url"] = base_url
if version := os.environ.get("API_VERSION"):
    options["api_version"] = version

from google import genai  # noqa: E402  (the environment had to be put in order first)
from google.genai import types  # noqa: E402

# One try for each call, so that what is tested is the pool's failover and not the SDK's: that is its default,
# and attempts=1 says so where a later release might think otherwise.
client = genai.Client(api_key=api_key, http_options={**options, "retry_options": {"attempts": 1}})


def tokens(reply):
    return reply.usage_metadata.total_token_count if reply and reply.usage_metadata else None


def whole(reply, answer):
    answer.add(reply.text)
    answer.set(tokens=tokens(reply))


def streamed(chunks, answer):
    answer.set(tokens=None)
    for chunk in chunks:
        answer.add(chunk.text)
        if chunk.usage_metadata:  # the last one counts
            answer.set(tokens=tokens(chunk))


def generate(call, answer):
    whole(client.models.generate_content(model=call["model"], contents=call["prompt"]), answer)


def stream(call, answer):
    streamed(client.models.generate_content_stream(model=call["model"], contents=call["prompt"]), answer)


def chat(call, answer):
    whole(client.chats.create(model=call["model"]).send_message(call["prompt"]), answer)


def chat_stream(call, answer):
    streamed(client.chats.create(model=call["model"]).send_message_stream(call["prompt"]), answer)


def count(call, answer):
    answer.set(tokens=client.models.count_tokens(model=call["model"], contents=call["prompt"]).total_tokens)


def embed(call, answer):
    reply = client.models.embed_content(model=call["model"], contents=call["prompt"])
    answer.set(values=len(reply.embeddings[0].values))


def list_models(_call, answer):
    answer.set(names=[model.name for model in client.models.list()])


def upload(call, answer):
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(call["prompt"].encode())
        file.flush()
        reply = client.files.upload(file=file.name, config={"mime_type": "text/plain"})
    answer.set(text=reply.name, uri=reply.uri)


def use_file(call, answer):
    part = types.Part.from_uri(file_uri=call["uri"], mime_type="text/plain")
    whole(client.models.generate_content(model=call["model"], contents=[part, call["prompt"]]), answer)


def list_files(_call, answer):
    answer.set(names=[file.name for file in client.files.list(config={"page_size": 2})])


def get_file(call, answer):
    answer.set(text=client.files.get(name=call["name"]).name)


def download_file(call, answer):
    answer.set(text=client.files.download(file=call["name"]).decode())


def delete_file(call, _answer):
    client.files.delete(name=call["name"])


lines.serve(
    {
        "generate": generate,
        "stream": stream,
        "chat": chat,
        "chat_stream": chat_stream,
        "count": count,
        "embed": embed,
        "list_models": list_models,
        "upload": upload,
        "use_file": use_file,
        "list_files": list_files,
        "get_file": get_file,
        "download_file": download_file,
        "delete_file": delete_file,
    },
    status_of=lambda error: getattr(error, "code", None),
)
