export default import.meta.glob('../**/*messages.ts', { eager: true, import: 'en', query: 'en' });
