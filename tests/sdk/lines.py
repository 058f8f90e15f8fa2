"""The conversation between a test and an SDK client program.

The test writes one call per line on stdin:

    {"id": 1, "op": "generate", "model": "gemini-2.5-flash", "prompt": "hello"}

and reads one answer per call on stdout, in the order in which the calls end:

    {"id": 1, "ok": true, "text": "...", "chunks": 1, "tokens": 12}
    {"id": 2, "ok": false, "status": 429, "error": "ClientError: ...", "text": "", "chunks": 0}

`status` is the code the SDK's exception carries, null where it carries none (a broken connection).
A stream that fails half way says in `text` and `chunks` what had arrived. What else an operation answers:
`tokens` (generate, stream, count; null when no usage came), `values` (embed: the length of the vector),
`names` (list_models, list_files), `text` (upload and get_file: the file's name; download_file: what is in it), `uri`
(upload). Calls about files have `name` or `uri` in place of what they do not need. `live` (JavaScript alone: the Python
SDK dials nothing but TLS) is a session of one turn over a WebSocket.

The environment: BASE_URL (required, without a path), API_KEY (required), CONCURRENCY (calls at once, default 4),
API_VERSION (Gemini's own API: v1, v1beta, v1alpha; default: the SDK's own choice).
The argument --base-url-by=option (default) hands the address to the client's constructor,
--base-url-by=environment sets the SDK's environment variable instead.

The program ends with 0 when every call was answered, whatever the answers were, and with 2 when a line of the
script was not understood.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

FOREIGN = ("GOOGLE_", "GEMINI_", "OPENAI_")


class Unsupported(Exception):
    """This SDK has nothing for the operation."""


class Answer:
    """What one call has produced so far. Kept outside the call, so that a failure does not lose it."""

    def __init__(self):
        self.fields = {"text": "", "chunks": 0}

    def add(self, text):
        self.fields["text"] += text or ""
        self.fields["chunks"] += 1

    def set(self, **fields):
        self.fields.update(fields)


def settings():
    """Reads this program's settings, then removes from the environment whatever would bend an SDK's behaviour:
    proxies, and other people's keys and addresses. Call it before importing an SDK."""
    flags = sys.argv[1:]
    by_environment = flags == ["--base-url-by=environment"]
    if not by_environment and flags not in ([], ["--base-url-by=option"]):
        sys.exit(f"{sys.argv[0]}: unknown arguments {flags}; known: --base-url-by=option|environment")
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(FOREIGN):
            del os.environ[name]
    try:
        base_url, api_key = os.environ["BASE_URL"].rstrip("/"), os.environ["API_KEY"]
    except KeyError as missing:
        sys.exit(f"{sys.argv[0]}: the environment variable {missing} is not set")
    return base_url, api_key, by_environment


def serve(operations, status_of, body_of=lambda error: ""):
    """Answers the calls on stdin until it ends.

    operations: name -> function(call, answer), which fills `answer` or raises.
    status_of: the HTTP status an exception of this SDK carries, or None.
    body_of: what the server said, where the exception's own text leaves it out.
    """
    stdout = threading.Lock()

    def run(call):
        answer = Answer()
        try:
            operation = operations.get(call["op"])
            if operation is None:
                raise Unsupported(f"no operation {call['op']!r} here; known: {', '.join(sorted(operations))}")
            operation(call, answer)
            outcome = {"ok": True}
        except Exception as error:
            text = f"{type(error).__name__}: {error} {body_of(error)}".rstrip()
            outcome = {"ok": False, "status": status_of(error), "error": text}
        line = json.dumps({"id": call["id"], **outcome, **answer.fields})
        with stdout:
            print(line, flush=True)

    understood = True
    with ThreadPoolExecutor(max_workers=int(os.environ.get("CONCURRENCY", "4"))) as pool:
        for line in sys.stdin:
            try:
                call = json.loads(line)
                call["id"], call["op"]
            except (ValueError, KeyError, TypeError) as error:
                print(f"{sys.argv[0]}: not a call: {line!r}: {error!r}", file=sys.stderr)
                understood = False
                continue
            pool.submit(run, call)
    sys.exit(0 if understood else 2)
