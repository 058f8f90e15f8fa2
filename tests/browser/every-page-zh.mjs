import { everyPage } from './every-page.mjs';
import { play } from './stage.mjs';

await play(everyPage('zh-TW'));
