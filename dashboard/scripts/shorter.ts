// Writes the built script shorter than Vite's own minifier does, which then gives everything short names.
import { minify } from 'terser';
import type { Plugin } from 'vite';

export function shorter(): Plugin {
  return {
    name: 'shorter',
    apply: 'build',
    async renderChunk(code) {
      // To read a property may be all that a line is for: it is how effects name what they wait for.
      const compress = { passes: 2, keep_fargs: false, pure_getters: false };
      const { code: left } = await minify(code, { module: true, ecma: 2020, compress, mangle: false });
      return { code: left ?? this.error('nothing is left'), map: null };
    },
  };
}
