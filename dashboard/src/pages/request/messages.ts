export const en = {
  title: 'Request',
};

export const zh: typeof en = {
  title: '請求',
};
