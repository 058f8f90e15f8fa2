export const en = {
  label: 'Ways to ask the pool',
  install: 'First install it:',
  copyCode: 'Copy the code',
  copyInstall: 'Copy the command',
  https: 'The Gemini CLI wants HTTPS for every address but localhost.',
};

export const zh: typeof en = {
  label: '呼叫金鑰池的方式',
  install: '先安裝：',
  copyCode: '複製程式碼',
  copyInstall: '複製指令',
  https: '除了 localhost 以外，Gemini CLI 一律要求 HTTPS 位址。',
};
