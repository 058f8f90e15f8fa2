export const en = {
  title: 'Somebody changed it meanwhile',
  other: 'They changed other fields than you. Yours can be applied over theirs without loss.',
  both: 'They changed what you changed too. If you apply yours, theirs is replaced where both touched.',
  hint: 'Nothing was saved yet. Whatever you choose, the log keeps both.',
  was: 'You saw',
  theirs: 'They made it',
  mine: 'You want',
  untouched: 'as it is',
  apply: 'Apply mine to it',
  reload: 'Reload and forget mine',
};

export const zh: typeof en = {
  title: '這段時間有其他人改過',
  other: '對方改的欄位與您不同，套用您的變更不會蓋掉對方的。',
  both: '對方也改了您改的欄位。若套用您的變更，重疊之處會取代對方的。',
  hint: '目前尚未儲存。無論如何選擇，日誌都會保留雙方的變更。',
  was: '您看到的',
  theirs: '對方改成',
  mine: '您要改成',
  untouched: '不變',
  apply: '套用我的變更',
  reload: '重新載入，放棄我的',
};
