export default import.meta.glob('/src/**/*messages.ts', { eager: true, import: 'zh', query: 'zh' });
