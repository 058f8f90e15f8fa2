// Leaves out of uPlot what `Plot.svelte` does not draw: a third of it.
import type { Plugin } from 'vite';

/** What is so of every plot here. The version of uPlot is pinned; one in which a line of this is missing fails the build. */
const ALWAYS: [string | RegExp, string][] = [
  // Helpers for plug-ins, and curves, steps and bars: lines are the default.
  [/^uPlot\.assign = assign;[^]*(?=^export )/m, ''],
  // Columns of one table, not points of their own.
  [/\bmode == 1\b/g, 'true'],
  [/\bmode == 2\b/g, 'false'],
  // Time is horizontal, and all scales are linear.
  [/\bscaleX\.ori == 0\b/g, 'true'],
  [/\bscaleX\.ori == 1\b/g, 'false'],
  [/(?:\b\w+\.)?\bdistr == 1\b/g, 'true'],
  [/(?:\b\w+\.)?\bdistr (?:==|>=)\s+(?:[234]|100)\b/g, 'false'],
  // No legend of uPlot's, no emphasis of the nearest line, no bands between lines; titles and axes are written by us.
  ['const showLegend = legend.show;', 'const showLegend = false;'],
  [/\blegend\.live\b/g, 'false'],
  ['let multiValLegend = false;', 'const multiValLegend = false;'],
  ['multiValLegend = getMultiVals != null;', ''],
  ['const cursorFocus = focus.prox >= 0;', 'const cursorFocus = false;'],
  ['flags != 0 && bands.forEach', 'false && bands.forEach'],
  [/= bandFillClipDirs\(u, seriesIdx\)/g, '= [0, 0]'],
  [/= timeAxisVals\(.*\);$/m, '= null;'],
  [/= timeSeriesVal\(.*\);$/m, '= null;'],
  [/isStr\(sv\) \? timeSeriesVal\(.*?\)\) : /, ''],
  ['opts.fmtDate || fmtDate', 'null'],
  [/isTime \? \(\s*\/\/ config array[^]*? _timeAxisVals\s*\) : /, ''],
  // Values have a range of their own, and times that of the data.
  ['!rangeIsArr && isObj(rn)', 'false'],
  [/fnOrSelf\(rn \|\| \([^]*?\)\);/, 'fnOrSelf(rn || snapNumX);'],
  // What is drawn does not change, but for its numbers.
  [/^\tself\.(?:addSeries|delSeries|setBand|addBand|delBand|setSeries) = \w+;$/gm, ''],
];

export function onlyOurPlots(): Plugin {
  return {
    name: 'only-our-plots',
    apply: 'build',
    transform: {
      filter: { id: /\/uPlot\.esm\.js$/ },
      handler(code) {
        for (const [from, to] of ALWAYS) {
          const left = code.replace(from, to);
          if (left === code) this.error(`uPlot has no ${String(from)} any more: see scripts/plots.ts`);
          code = left;
        }
        return { code, map: null };
      },
    },
  };
}
