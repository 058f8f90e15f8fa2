export default import.meta.glob('/src/**/*messages.ts', { eager: true, import: 'en', query: 'en' });
