export const en = {
  title: 'History',
};

export const zh: typeof en = {
  title: '歷史',
};
