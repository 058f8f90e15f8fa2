export const en = {
  title: 'Add keys',
};

export const zh: typeof en = {
  title: '新增金鑰',
};
