import type { Component } from 'svelte';

import Welcome from '$lib/pages/welcome/Page.svelte';
import Keys from '$lib/pages/keys/Page.svelte';
import Key from '$lib/pages/key/Page.svelte';
import Clients from '$lib/pages/clients/Page.svelte';
import Request from '$lib/pages/request/Page.svelte';
import Requests from '$lib/pages/requests/Page.svelte';
import History from '$lib/pages/history/Page.svelte';
import Status from '$lib/pages/status/Page.svelte';
import Models from '$lib/pages/models/Page.svelte';
import Settings from '$lib/pages/settings/Page.svelte';
import type { RouteName } from '$lib/router';

/** What is at each address. (Pages that are alike stand beside each other, which packs better.) */
export const pages: Record<RouteName, Component> = {
  status: Status,
  keys: Keys,
  key: Key,
  models: Models,
  requests: Requests,
  request: Request,
  history: History,
  clients: Clients,
  settings: Settings,
  welcome: Welcome,
};
