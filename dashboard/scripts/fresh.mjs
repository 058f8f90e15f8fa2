// Fails when the typed client is not the one that snapshots/openapi.json gives.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'schema-'));
const made = join(folder, 'schema.d.ts');
try {
  execFileSync('npx', ['openapi-typescript', '../snapshots/openapi.json', '-o', made], { stdio: 'pipe' });
  if (readFileSync(made, 'utf8') !== readFileSync('src/api/schema.d.ts', 'utf8')) {
    console.error('src/api/schema.d.ts is stale: run `npm run generate` and commit it');
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
