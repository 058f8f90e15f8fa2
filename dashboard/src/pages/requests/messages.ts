export const en = {
  title: 'Requests',
};

export const zh: typeof en = {
  title: '請求',
};
