import { untrack } from 'svelte';

import type { IconName } from '$lib/ui/icons';

/** Something that the palette offers. */
export interface Command {
  label: string;
  icon: IconName;
  run: () => void;
  /** Shown at the end: a shortcut. */
  keys?: string;
}

const offered = new Set<{ list: () => Command[] }>();
let version = $state(0);

/** What the page that is open adds to the palette; for its life. Call it while a component is being set up. */
export function usePalette(list: () => Command[]): void {
  $effect(() => {
    const entry = { list };
    offered.add(entry);
    // Counting up reads, and an effect that reads what it writes never ends.
    untrack(() => (version += 1));
    return () => {
      offered.delete(entry);
      version += 1;
    };
  });
}

export function pageCommands(): Command[] {
  void version;
  return [...offered].flatMap((entry) => entry.list());
}
