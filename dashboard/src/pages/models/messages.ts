export const en = {
  title: 'Models',
};

export const zh: typeof en = {
  title: '模型',
};
