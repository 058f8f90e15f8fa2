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
  [/\b(?:(?:\w+\.)?distr|xScaleDistr) (?:==|>=)\s+(?:[234]|100)\b/g, 'false'],
  [/\bscaleX\.time\b/g, 'true'],
  [/\bms == 1\b/g, 'false'],
  ['= genTimeStuffs(1);', '= [];'],
  [/const _timeAxisStamps = \[[^]*?\n\t\];/, 'const _timeAxisStamps = null;'],
  [/^const localTz = .*;$/m, ''],
  [/ = (days|months)\.map\(/g, ' = /* @__PURE__ */ $1.map('],
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
  [/\baxis\.label != null/g, 'false'],
  [/\b(?:ticks|border)\.show\b/g, 'false'],
  [/\baxis\._rotate \* /, '0 * '],
  [/^\t\(opts\.plugins \|\| \[\]\)\.forEach[^]*?^\t\}\);$/gm, ''],
  // Drags are sideways, change no scale by themselves, and lock nothing.
  [/\bdragY\b(?! = )/g, 'false'],
  [/\bdrag\.(?:y|setScale)\b/g, 'false'],
  [/\bcursor\._?lock\b(?! = )/g, 'false'],
  ['cursor._lock = !false;', ''],
  // Values have a range of their own, and times that of the data.
  ['!rangeIsArr && isObj(rn)', 'false'],
  [/fnOrSelf\(rn \|\| \([^]*?\)\);/, 'fnOrSelf(rn || snapNumX);'],
  // What is drawn does not change, but for its numbers.
  [/^\tself\.(?:addSeries|delSeries|setBand|addBand|delBand|setSeries) = \w+;$/gm, ''],
  [/^\tself\.redraw = [^]*?^\t\};$/m, ''],
  [/^\tevents\["setSeries"\] = [^]*?^\t\};$/m, ''],
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
