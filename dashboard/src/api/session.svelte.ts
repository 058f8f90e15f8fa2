/**
 * Who is logged in. `out`: the login page stands in for every page, at that page's address.
 * `expired`: the session ended under an open page, which stays; a dialog asks to log in again.
 */
type State = 'asking' | 'in' | 'out' | 'expired' | 'unreachable';

class Session {
  state = $state<State>('asking');
  name = $state('');
  /** Counts logins; live queries load again when it changes. */
  epoch = $state(0);

  began(name: string): void {
    this.name = name;
    this.state = 'in';
    this.epoch += 1;
  }

  /** A call was refused. */
  ended(): void {
    if (this.state === 'in') this.state = 'expired';
    else if (this.state === 'asking' || this.state === 'unreachable') this.state = 'out';
  }

  left(): void {
    this.state = 'out';
    this.name = '';
  }
}

export const session = new Session();
