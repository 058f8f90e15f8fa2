export const en = {
  title: 'Keys',
};

export const zh: typeof en = {
  title: '金鑰',
};
