import { api, ok, Problem } from './client';
import { session } from './session.svelte';

/** Tells the browser's other tabs of a login (true) and a logout: the cookie is theirs too. */
const tabs = new BroadcastChannel('gemini-pool login');
tabs.onmessage = ({ data }) => (data ? void whoAmI() : session.left());

/** Asks the server whether the cookie is still good. */
export async function whoAmI(): Promise<void> {
  try {
    session.began((await ok(api.GET('/session'))).name);
  } catch (error) {
    if (error instanceof Problem && error.code === 'not_logged_in') return;
    // What is open stays, and whoever types a password goes on.
    if (session.state === 'asking') session.state = 'unreachable';
  }
}

export async function logIn(username: string, password: string): Promise<void> {
  await api.POST('/login', { body: { username, password } });
  session.began(username);
  tabs.postMessage(true);
}

export async function logOut(): Promise<void> {
  try {
    await api.POST('/logout');
  } catch (error) {
    // A session that ended already is what was wanted.
    if (!(error instanceof Problem && error.code === 'not_logged_in')) throw error;
  }
  session.left();
  tabs.postMessage(false);
}
