export const en = {
  title: 'Clients',
};

export const zh: typeof en = {
  title: '用戶端',
};
