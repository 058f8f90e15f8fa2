export const en = {
  title: 'Key',
};

export const zh: typeof en = {
  title: '金鑰',
};
