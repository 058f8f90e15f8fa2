import { remember, remembered } from '$lib/i18n/locale.svelte';
import type { Column } from '$lib/ui';
import type { en } from './messages';

export type ColumnId = keyof (typeof en)['col'];

/** Every column there is, in order, with its width. */
export const columns: (Omit<Column, 'label' | 'id'> & { id: ColumnId })[] = [
  { id: 'time', width: '134px' },
  { id: 'status', width: '92px' },
  { id: 'outcome', width: '106px' },
  { id: 'model', width: 'minmax(164px, 1.3fr)' },
  { id: 'method', width: 'minmax(140px, 1fr)' },
  { id: 'client', width: 'minmax(76px, 1fr)' },
  { id: 'key', width: 'minmax(84px, 1fr)' },
  { id: 'tries', width: '58px', end: true },
  { id: 'first', width: '76px', end: true },
  { id: 'duration', width: '78px', end: true },
  { id: 'waited', width: '78px', end: true },
  { id: 'tokens', width: '70px', end: true },
  { id: 'prompt', width: '76px', end: true },
  { id: 'output', width: '76px', end: true },
  { id: 'thoughts', width: '80px', end: true },
  { id: 'cached', width: '76px', end: true },
  { id: 'reason', width: 'minmax(108px, 2fr)' },
  { id: 'finish', width: '110px' },
  { id: 'streamed', width: '74px' },
  { id: 'bytes', width: '80px', end: true },
  { id: 'address', width: '140px' },
  { id: 'path', width: 'minmax(200px, 2fr)' },
  { id: 'id', width: '300px' },
];
export const usual: ColumnId[] = ['time', 'status', 'model', 'client', 'key', 'first', 'duration', 'tokens', 'reason'];

/** A name for conditions and columns. */
export interface View {
  name: string;
  /** The conditions, as `conditionsOf` writes them. */
  query: string;
  columns: ColumnId[];
}

const COLUMNS = 'gemini-pool.requests.columns';
const VIEWS = 'gemini-pool.requests.views';

function read(key: string): unknown {
  try {
    return JSON.parse(remembered(key) ?? 'null');
  } catch {
    return null;
  }
}

/** Known columns only, in their order: storage may be an older version's. */
function known(given: unknown): ColumnId[] {
  const wanted: unknown[] = Array.isArray(given) ? given : [];
  const found = columns.map(({ id }) => id).filter((id) => wanted.includes(id));
  return found.length > 0 ? found : usual;
}

function views(): View[] {
  const given = read(VIEWS);
  if (!Array.isArray(given)) return [];
  return given.flatMap((one: Partial<View> | null) =>
    typeof one?.name === 'string' && typeof one.query === 'string'
      ? [{ name: one.name, query: one.query, columns: known(one.columns) }]
      : [],
  );
}

/** What this browser keeps of the page: which columns, and named views. */
class Kept {
  columns = $state.raw<ColumnId[]>(known(read(COLUMNS)));
  views = $state.raw<View[]>(views());

  show(ids: readonly ColumnId[]): void {
    this.columns = known(ids);
    remember(COLUMNS, JSON.stringify(this.columns));
  }

  save(view: View): void {
    this.#keep([...this.views.filter(({ name }) => name !== view.name), view]);
  }

  /** Gives back the way to undo it. */
  drop(view: View): () => void {
    const before = this.views;
    this.#keep(before.filter((one) => one !== view));
    return () => this.#keep(before);
  }

  #keep(all: View[]): void {
    this.views = all.sort((a, b) => a.name.localeCompare(b.name));
    remember(VIEWS, JSON.stringify(this.views));
  }
}

export const kept = new Kept();
