import { mount } from 'svelte';

import App from './App.svelte';
import { fetchTexts } from './i18n/texts';
import { locale } from './i18n/locale.svelte';
import './ui/tokens.css';
import './ui/base.css';

const target = document.getElementById('app');
if (target) void fetchTexts(locale.current).then(() => mount(App, { target }));
