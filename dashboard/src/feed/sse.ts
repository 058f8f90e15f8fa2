/** One message of a stream: what has no `data` only tells a position. */
export interface Message {
  id: string | undefined;
  data: string | undefined;
}

/** Cuts a stream of Server-Sent Events into messages, however its bytes arrive. */
export class Parser {
  #rest = '';

  push(text: string): Message[] {
    this.#rest += text;
    const blocks = this.#rest.split(/\r?\n\r?\n/);
    this.#rest = blocks.pop() ?? '';
    return blocks.map(message);
  }
}

function message(block: string): Message {
  let id: string | undefined;
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    // A comment begins with a colon; it keeps the connection warm and says nothing.
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    const field = line.slice(0, colon);
    if (field === 'id') id = value;
    else if (field === 'data') data.push(value);
  }
  return { id, data: data.length > 0 ? data.join('\n') : undefined };
}
