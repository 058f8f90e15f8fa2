// @google/genai (JavaScript) as a client of the pool. The conversation with the test, its fields and its
// settings are those of lines.py.

import { createInterface } from "node:readline";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const flags = process.argv.slice(2);
const byEnvironment = flags[0] === "--base-url-by=environment";
if (flags.length > 1 || (flags.length === 1 && !byEnvironment && flags[0] !== "--base-url-by=option")) {
  console.error(`genai.mjs: unknown arguments ${flags.join(" ")}; known: --base-url-by=option|environment`);
  process.exit(2);
}
// Whatever would bend the SDK's behaviour goes: proxies, and other people's keys and addresses.
for (const name of Object.keys(process.env)) {
  if (/_proxy$/i.test(name) || /^(GOOGLE_|GEMINI_|OPENAI_)/.test(name)) delete process.env[name];
}
const { BASE_URL, API_KEY, API_VERSION, CONCURRENCY = "4" } = process.env;
if (!BASE_URL || !API_KEY) {
  console.error("genai.mjs: the environment variables BASE_URL and API_KEY must be set");
  process.exit(2);
}
const baseUrl = BASE_URL.replace(/\/+$/, "");
if (byEnvironment) process.env.GOOGLE_GEMINI_BASE_URL = baseUrl;

const { GoogleGenAI } = await import("@google/genai"); // after the environment was put in order
const client = new GoogleGenAI({
  apiKey: API_KEY,
  httpOptions: {
    ...(byEnvironment ? {} : { baseUrl }),
    ...(API_VERSION ? { apiVersion: API_VERSION } : {}),
    // One try for each call, so that what is tested is the pool's failover and not the SDK's.
    retryOptions: { attempts: 1 },
  },
});

const tokens = (reply) => reply.usageMetadata?.totalTokenCount ?? null;

function add(answer, text) {
  answer.text += text ?? "";
  answer.chunks += 1;
}

function whole(reply, answer) {
  add(answer, reply.text);
  answer.tokens = tokens(reply);
}

async function streamed(chunks, answer) {
  answer.tokens = null;
  for await (const chunk of chunks) {
    add(answer, chunk.text);
    if (chunk.usageMetadata) answer.tokens = tokens(chunk); // the last one counts
  }
}

// A session of one turn. Its end before that is an error.
async function talk(client, { model, prompt }, answer) {
  const [turn, end] = [{}, {}];
  turn.over = new Promise((resolve, reject) => Object.assign(turn, { resolve, reject }));
  turn.over.catch(() => {}); // also where nobody comes to wait for it
  end.over = new Promise((resolve) => Object.assign(end, { resolve }));
  const session = await client.live.connect({
    model,
    config: { responseModalities: ["TEXT"] },
    callbacks: {
      onmessage: (message) => {
        for (const part of message.serverContent?.modelTurn?.parts ?? []) add(answer, part.text);
        if (message.usageMetadata) answer.tokens = tokens(message);
        if (message.serverContent?.turnComplete) turn.resolve();
      },
      onerror: (event) => turn.reject(new Error(event.message)),
      onclose: (event) => {
        turn.reject(new Error(`closed with ${event.code}: ${event.reason}`));
        end.resolve();
      },
    },
  });
  session.sendClientContent({ turns: prompt, turnComplete: true });
  await turn.over;
  session.close();
  await end.over;
}

const operations = {
  async generate({ model, prompt }, answer) {
    whole(await client.models.generateContent({ model, contents: prompt }), answer);
  },
  async stream({ model, prompt }, answer) {
    await streamed(await client.models.generateContentStream({ model, contents: prompt }), answer);
  },
  async chat({ model, prompt }, answer) {
    whole(await client.chats.create({ model }).sendMessage({ message: prompt }), answer);
  },
  async chat_stream({ model, prompt }, answer) {
    await streamed(await client.chats.create({ model }).sendMessageStream({ message: prompt }), answer);
  },
  async count({ model, prompt }, answer) {
    answer.tokens = (await client.models.countTokens({ model, contents: prompt })).totalTokens;
  },
  async embed({ model, prompt }, answer) {
    answer.values = (await client.models.embedContent({ model, contents: prompt })).embeddings[0].values.length;
  },
  async live(call, answer) {
    await talk(client, call, answer);
  },
  // As a browser does that got a token from its own server.
  async live_by_token(call, answer) {
    const options = { ...(byEnvironment ? {} : { baseUrl }), apiVersion: "v1alpha" };
    const maker = new GoogleGenAI({ apiKey: API_KEY, httpOptions: options });
    const token = await maker.authTokens.create({ config: { uses: 1, liveConnectConstraints: { model: call.model } } });
    await talk(new GoogleGenAI({ apiKey: token.name, httpOptions: options }), call, answer);
  },
  async list_models(_call, answer) {
    answer.names = [];
    for await (const model of await client.models.list()) answer.names.push(model.name);
  },
  async upload({ prompt }, answer) {
    const directory = await mkdtemp(join(tmpdir(), "upload-"));
    try {
      const file = join(directory, "upload.txt");
      await writeFile(file, prompt);
      const reply = await client.files.upload({ file, config: { mimeType: "text/plain" } });
      answer.text = reply.name;
      answer.uri = reply.uri;
    } finally {
      await rm(directory, { recursive: true });
    }
  },
  async use_file({ model, prompt, uri }, answer) {
    const contents = [{ role: "user", parts: [{ fileData: { fileUri: uri, mimeType: "text/plain" } }, { text: prompt }] }];
    whole(await client.models.generateContent({ model, contents }), answer);
  },
  async list_files(_call, answer) {
    answer.names = [];
    for await (const file of await client.files.list({ config: { pageSize: 2 } })) answer.names.push(file.name);
  },
  async get_file({ name }, answer) {
    answer.text = (await client.files.get({ name })).name;
  },
  async download_file({ name }, answer) {
    const directory = await mkdtemp(join(tmpdir(), "download-"));
    try {
      const downloadPath = join(directory, "file");
      await client.files.download({ file: name, downloadPath });
      answer.text = await readFile(downloadPath, "utf8");
    } finally {
      await rm(directory, { recursive: true });
    }
  },
  async delete_file({ name }) {
    await client.files.delete({ name });
  },
};

async function run(call) {
  const answer = { text: "", chunks: 0 };
  let outcome = { ok: true };
  try {
    if (!Object.hasOwn(operations, call.op)) throw new Error(`no operation "${call.op}" here`);
    await operations[call.op](call, answer);
  } catch (error) {
    const cause = error.cause ? ` (${error.cause.code ?? error.cause.message ?? error.cause})` : "";
    outcome = { ok: false, status: error.status ?? null, error: `${error.name}: ${error.message}${cause}` };
  }
  process.stdout.write(`${JSON.stringify({ id: call.id, ...outcome, ...answer })}\n`);
}

// A queue with CONCURRENCY workers: calls start as their lines come in, not when stdin ends.
const waiting = [];
let running = 0;
function next() {
  while (running < Number(CONCURRENCY) && waiting.length > 0) {
    running += 1;
    run(waiting.shift()).finally(() => {
      running -= 1;
      next();
    });
  }
}
for await (const line of createInterface({ input: process.stdin })) {
  let call;
  try {
    call = JSON.parse(line);
  } catch {
    call = undefined;
  }
  if (call?.id === undefined || call.op === undefined) {
    console.error(`genai.mjs: not a call: ${line}`);
    process.exitCode = 2;
    continue;
  }
  waiting.push(call);
  next();
}
