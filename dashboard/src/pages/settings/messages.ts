export const en = {
  title: 'Settings',
};

export const zh: typeof en = {
  title: '設定',
};
