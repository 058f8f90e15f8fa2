import { href, type RouteName } from '$lib/router';
import type { IconName } from '$lib/ui/icons';

/** The pages of the navigation, and the letter after `g` that goes there. */
export const nav: { name: Exclude<RouteName, 'key' | 'request'>; icon: IconName; letter: string; href: string }[] = [
  { name: 'status', icon: 'status', letter: 's', href: href('status') },
  { name: 'keys', icon: 'key', letter: 'k', href: href('keys') },
  { name: 'models', icon: 'models', letter: 'm', href: href('models') },
  { name: 'requests', icon: 'requests', letter: 'r', href: href('requests') },
  { name: 'history', icon: 'history', letter: 'h', href: href('history') },
  { name: 'clients', icon: 'clients', letter: 'c', href: href('clients') },
  { name: 'settings', icon: 'settings', letter: 'e', href: href('settings') },
  { name: 'welcome', icon: 'welcome', letter: 'a', href: href('welcome') },
];
