// Packs the built files and writes the table that lib.rs includes: node scripts/pack.mjs DIST TABLE
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

import { gzip } from './gzip.mjs';

const MEDIA = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

const [dist, table] = process.argv.slice(2);
const files = [];
const walk = (folder, at) => {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) walk(path, `${at}${name}/`);
    else files.push([`${at}${name}`, path]);
  }
};
walk(dist, '/');
// By bytes, as the table is searched.
files.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

const include = (path) => `include_bytes!(${JSON.stringify(path)})`;
const rows = [];
for (const [path, file] of files) {
  const media = MEDIA[extname(file)];
  if (media === undefined) throw new Error(`${path}: no media type is known for it; see scripts/pack.mjs`);
  const plain = readFileSync(file);
  const packed = (end, bytes) => {
    if (bytes.length >= plain.length) return 'None';
    writeFileSync(file + end, bytes);
    return `Some(${include(file + end)})`;
  };
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length };
  const brotli = packed('.br', brotliCompressSync(plain, { params }));
  const gzipped = packed('.gz', await gzip(plain));
  const digest = createHash('sha256').update(plain).digest('hex').slice(0, 32);
  const immutable = path.startsWith('/assets/');
  rows.push(
    `    Asset { path: ${JSON.stringify(path)}, media: "${media}", digest: "${digest}", immutable: ${immutable}, plain: ${include(file)}, brotli: ${brotli}, gzip: ${gzipped} },`,
  );
}
writeFileSync(table, `&[\n${rows.join('\n')}\n]\n`);
