export interface ClientSnippet {
  id: 'curl' | 'python' | 'javascript' | 'cli' | 'openai' | 'langchain';
  /** A name: it is the same in every language. */
  name: string;
  /** What to install first, where it needs something. */
  install?: string;
  code: string;
}

/** What stands for the key where nobody can show it any more. */
export const PLACEHOLDER = 'YOUR-ACCESS-KEY';

/** How to ask the pool, ready to run. */
export function clientSnippets(origin: string, key: string, model: string): ClientSnippet[] {
  return [
    {
      id: 'curl',
      name: 'curl',
      code: `curl ${origin}/v1beta/models/${model}:generateContent \\
  -H 'x-goog-api-key: ${key}' -H 'content-type: application/json' \\
  -d '{"contents": [{"parts": [{"text": "Hello"}]}]}'`,
    },
    {
      id: 'python',
      name: 'Python',
      install: 'pip install google-genai',
      code: `from google import genai

client = genai.Client(
    api_key="${key}",
    http_options={"base_url": "${origin}"},
)
reply = client.models.generate_content(model="${model}", contents="Hello")
print(reply.text)`,
    },
    {
      id: 'javascript',
      name: 'JavaScript',
      install: 'npm install @google/genai',
      code: `import { GoogleGenAI } from "@google/genai";

const ai = new GoogleGenAI({
  apiKey: "${key}",
  httpOptions: { baseUrl: "${origin}" },
});
const reply = await ai.models.generateContent({ model: "${model}", contents: "Hello" });
console.log(reply.text);`,
    },
    {
      id: 'cli',
      name: 'Gemini CLI',
      install: 'npm install -g @google/gemini-cli',
      code: `export GOOGLE_GEMINI_BASE_URL=${origin}
export GEMINI_API_KEY=${key}
gemini -m ${model}`,
    },
    {
      id: 'openai',
      name: 'openai',
      install: 'pip install openai',
      code: `from openai import OpenAI

client = OpenAI(api_key="${key}", base_url="${origin}/v1beta/openai/")
reply = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello"}],
)
print(reply.choices[0].message.content)`,
    },
    {
      id: 'langchain',
      name: 'LangChain',
      install: 'pip install "langchain-google-genai>=4"',
      code: `from langchain_google_genai import ChatGoogleGenerativeAI

model = ChatGoogleGenerativeAI(
    model="${model}",
    api_key="${key}",
    base_url="${origin}",
)
print(model.invoke("Hello").content)`,
    },
  ];
}
