// The build puts the texts here: see scripts/languages.ts.
export default [] as unknown[];
