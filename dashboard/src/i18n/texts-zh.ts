export default import.meta.glob('../**/*messages.ts', { eager: true, import: 'zh', query: 'zh' });
