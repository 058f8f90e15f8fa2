import { api, ok, Problem } from './client';
import { session } from './session.svelte';

/** Asks the server whether the cookie is still good. */
export async function whoAmI(): Promise<void> {
  try {
    session.began((await ok(api.GET('/session'))).name);
  } catch (error) {
    if (error instanceof Problem && error.code === 'not_logged_in') return;
    session.state = 'unreachable';
  }
}

export async function logIn(username: string, password: string): Promise<void> {
  await api.POST('/login', { body: { username, password } });
  session.began(username);
}

export async function logOut(): Promise<void> {
  try {
    await api.POST('/logout');
  } catch (error) {
    // A session that ended already is what was wanted.
    if (!(error instanceof Problem && error.code === 'not_logged_in')) throw error;
  }
  session.left();
}
