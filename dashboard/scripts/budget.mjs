// Weighs the built dashboard (dist/, or the folder named as argument) against its budget.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

import { gzip } from './gzip.mjs';

const ENTRY = 60_000;
const ALL = 150_000;

const root = process.argv[2] ?? 'dist';
const files = [];
const walk = (folder) => {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) walk(path);
    else files.push(path);
  }
};
walk(root);

const name = (path) => '/' + relative(root, path).replaceAll('\\', '/');
const weights = new Map();
for (const path of files) weights.set(path, (await gzip(readFileSync(path))).length);
const weight = (path) => weights.get(path);
const index = readFileSync(join(root, 'index.html'), 'utf8');
const loaded = new Set([...index.matchAll(/(?:src|href)="([^"]+\.(?:js|css))"/g)].map(([, url]) => url));
// What the entry imports at once comes with it.
for (const url of loaded) {
  if (!url.endsWith('.js')) continue;
  const text = readFileSync(join(root, url), 'utf8');
  const folder = url.slice(0, url.lastIndexOf('/') + 1);
  for (const [, to] of text.matchAll(/(?:^|[;}\s])(?:import|export)\s*(?:[\w*{}\s,$]+from)?\s*["']\.\/([^"']+\.js)["']/g)) {
    loaded.add(folder + to);
  }
}

// A visitor fetches the texts of one language before anything is shown: the entry has the heavier one.
const language = (path) => /\/texts-(\w+)-[^/]+\.js$/.exec(path)?.[1];
const texts = files.filter(language).sort((a, b) => weight(b) - weight(a));
if (texts.length !== 2) throw new Error(`${texts.length} languages have a file of their own, not 2`);

const rows = files
  .filter((path) => /\.(js|css|html)$/.test(path))
  .map((path) => ({
    name: name(path),
    gzip: weight(path),
    entry: loaded.has(name(path)) || path.endsWith('.html') || path === texts[0],
  }))
  .sort((a, b) => Number(b.entry) - Number(a.entry) || b.gzip - a.gzip);
for (const row of rows) {
  console.log(`${row.entry ? 'entry' : 'later'}  ${String(row.gzip).padStart(7)}  ${row.name}`);
}
const sum = (some) => some.reduce((total, row) => total + row.gzip, 0);
const [entry, all] = [sum(rows.filter((row) => row.entry)), sum(rows.filter((row) => !row.name.endsWith('.html')))];
console.log(`entry ${entry} of ${ENTRY} bytes, all ${all} of ${ALL} bytes (gzip)`);

const wrong = [];
if (entry > ENTRY) wrong.push('the entry is over its budget');
if (all > ALL) wrong.push('script and style are over their budget');
for (const path of files) {
  const text = readFileSync(path, 'utf8');
  // Names of XML dialects are no addresses that anything loads, and links are followed by people.
  const places = [
    ...text.matchAll(/(?:src|srcset|@import|url\(|fetch\(|import\()\s*=?\s*["'`(]*\s*((?:https?:)?\/\/[\w.-]+)/g),
    ...text.matchAll(/<link[^>]+href="((?:https?:)?\/\/[^"]+)"/g),
  ];
  for (const [, url] of places) wrong.push(`${name(path)} loads from another origin: ${url}`);
  if (path.endsWith('.html') && /\sstyle=|<style|<script(?![^>]*\ssrc=)/.test(text)) {
    wrong.push(`${name(path)} has inline script or style, which the policy forbids`);
  }
}
wrong.forEach((line) => console.error(line));
process.exitCode = wrong.length === 0 ? 0 : 1;
