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
  [/\bsx\.ori == 0\b/g, 'true'],
  ['ori == 0 ? rectH : rectV', 'rectH'],
  ['= rect(1)', '= /* @__PURE__ */ rect(1)'],
  // From left to right, and upwards; each scale is its own.
  [/(?:\b\w+\.)?\bdir == -1\b/g, 'false'],
  [/= scaleX\.dir \* \(.*\)/g, '= 1'],
  [/\b\w+\.from == null\b/g, 'true'],
  [/\b\w+\.from != null\b/g, 'false'],
  ['= isArr(rn)', '= false'],
  [/log \? (?:positiveIdxs|isPositive) : /g, ''],
  // Fewer points than pixels, one colour a line, upright words.
  ['idx1 - idx0 >= xDim * 4', 'false'],
  [/\w+ instanceof Map/g, 'false'],
  ['let angle = axis._rotate * -PI/180', 'const angle = 0'],
  ['endRad == 0 && baseRad == 0', 'true'],
  [/^\t\t\tbezierCurveTo[HV],$/gm, ''],
  ['series.some(s => s._focus) && ctxAlpha != focus.alpha', 'false'],
  [/\bctxAlpha != (?:s\.alpha|_ctxAlpha)\b/g, 'false'],
  ['getBBox != null', 'false'],
  [/^\tif \(opts\.(?:title|id != null)\)/gm, '\tif (false)'],
  [/assign\(\{\}, facet/g, '/* @__PURE__ */ assign({}, facet'],
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
  ['self.legend = assign({}, legendOpts, opts.legend)', 'self.legend = {}'],
  [/^\t(?:const |\t)markers\b.*;$/gm, ''],
  [/^\t\t\ts\.(?:value|label) = .*;$/gm, ''],
  [/\blegend\.live\b/g, 'false'],
  ['let multiValLegend = false;', 'const multiValLegend = false;'],
  ['multiValLegend = getMultiVals != null;', ''],
  ['const cursorFocus = focus.prox >= 0;', 'const cursorFocus = false;'],
  ['flags != 0 && bands.forEach', 'false && bands.forEach'],
  ['let [ bandFillDir, bandClipDir ] = bandFillClipDirs(u, seriesIdx)', 'const bandFillDir = 0, bandClipDir = 0'],
  [/if \(bandClip\)/g, 'if (false)'],
  [/\|\| bandClip\b/g, ''],
  [/= timeAxisVals\(.*\);$/m, '= null;'],
  [/= timeSeriesVal\(.*\);$/m, '= null;'],
  ['opts.fmtDate || fmtDate', 'null'],
  [/isTime \? \(\s*\/\/ config array[^]*? _timeAxisVals\s*\) : /, ''],
  [/\baxis\.label != null/g, 'false'],
  [/\b(?:ticks|border)\.show\b/g, 'false'],
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
  [/^\tself\.(?:addSeries|delSeries|setBand|addBand|delBand|setSeries|batch|posToIdx|setLegend) = \w+;$/gm, ''],
  [/^\tself\.valToIdx = .*;$/m, ''],
  [/^\tself\.setCursor = [^]*?^\t\};$/m, ''],
  [/^\t+(?:onMouse\(dblclick,|events\.dblclick = ).*$/gm, ''],
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
