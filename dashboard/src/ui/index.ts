// For pages. What the entry needs (shell, login, these components themselves) imports files directly, so that the rest
// is fetched with the first page and not before.
export { default as Ago } from './Ago.svelte';
export { default as Button } from './Button.svelte';
export { default as Chips } from './Chips.svelte';
export { default as CopyButton } from './CopyButton.svelte';
export { default as Countdown } from './Countdown.svelte';
export { default as Dialog } from './Dialog.svelte';
export { default as Drawer } from './Drawer.svelte';
export { default as EmptyState } from './EmptyState.svelte';
export { default as ErrorBox } from './ErrorBox.svelte';
export { default as Field } from './Field.svelte';
export { default as Heartbeat } from './Heartbeat.svelte';
export { default as Icon } from './Icon.svelte';
export { default as IconButton } from './IconButton.svelte';
export { default as Menu, type MenuItem } from './Menu.svelte';
export { default as NewPill } from './NewPill.svelte';
export { default as Plot } from './Plot.svelte';
export { default as Progress } from './Progress.svelte';
export { default as Snippet } from './Snippet.svelte';
export { default as Sparkline } from './Sparkline.svelte';
export { default as Stat } from './Stat.svelte';
export { default as StateBadge } from './StateBadge.svelte';
export { default as Tabs } from './Tabs.svelte';
export { default as TimeRange } from './TimeRange.svelte';
export { default as VirtualTable, type Column } from './VirtualTable.svelte';
export { type IconName } from './icons';
export { colour, theme } from './theme.svelte';
export { toasts } from './toasts.svelte';
