/** How the server's states look: a shape and a tone each; the word is the dictionary's. */
export type Tone = 'ok' | 'warn' | 'bad' | 'spent' | 'idle';
export type Shape = 'disc' | 'half' | 'cross' | 'bar' | 'ring' | 'diamond';
export type Look = { tone: Tone; shape: Shape };

const look = (tone: Tone, shape: Shape): Look => ({ tone, shape });

export const keyLooks: Record<string, Look> = {
  ready: look('ok', 'disc'),
  cooling: look('warn', 'half'),
  failed: look('bad', 'cross'),
  disabled: look('idle', 'bar'),
};

export const cellLooks: Record<string, Look> = {
  ...keyLooks,
  spent: look('spent', 'diamond'),
  not_offered: look('idle', 'ring'),
  bad_credential: look('bad', 'cross'),
  bad_project: look('bad', 'cross'),
  model_down: look('warn', 'diamond'),
  not_allowed: look('idle', 'bar'),
};

export const outcomeLooks: Record<string, Look> = {
  complete: look('ok', 'disc'),
  truncated: look('bad', 'half'),
  cancelled: look('idle', 'bar'),
  refused: look('bad', 'cross'),
};

/** What a try came to: Google's quotas are no faults, and neither are clients that leave. */
export function verdictLook(verdict: string): Look {
  if (verdict === 'success') return look('ok', 'disc');
  if (verdict.startsWith('quota_')) return look('spent', 'diamond');
  if (verdict === 'cancelled' || verdict === 'client_fault' || verdict === 'affinity_miss') return look('idle', 'bar');
  if (/^(overloaded|server_error|timed_out|connect|empty_answer)/.test(verdict)) return look('warn', 'half');
  return look('bad', 'cross');
}

/** An HTTP status as clients saw it; 0: none. */
export function statusLook(status: number): Look {
  if (status >= 200 && status < 400) return look('ok', 'disc');
  if (status === 429) return look('spent', 'diamond');
  if (status >= 400 && status < 500) return look('warn', 'half');
  return status === 0 ? look('idle', 'bar') : look('bad', 'cross');
}
