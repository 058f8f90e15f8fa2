export const en = {
  title: 'Status',
};

export const zh: typeof en = {
  title: '狀態',
};
