// Packs a file as well as gzip can: this is what is served, and what the budget counts.
import { gzipAsync } from '@gfx/zopfli';

export const gzip = (plain) => gzipAsync(plain, { numiterations: 15 });
