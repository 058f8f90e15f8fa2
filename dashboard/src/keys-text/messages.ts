export const en = {
  pasteHint: 'One a line, or with commas or spaces between them; a JSON list; the text of a .env file. Or drop files here.',
  placeholder: 'AIza…\nAIza…',
  choose: 'Choose files',
  dropped: 'Drop to read',
  notText: (name: string) => `${name} is not a text file.`,
  tooBig: (name: string) => `${name} is larger than 5 MB. That is hardly a list of keys.`,
  badJson: 'This begins like JSON but is none. Check brackets, quotes and commas.',
  badEntry: (place: string) => `Entry ${place} of the JSON is neither a key nor an object with a “key”.`,
};

export const zh: typeof en = {
  pasteHint: '每行一把，或以逗號、空白分隔；也可以是 JSON 陣列或 .env 檔的內容。也可以把檔案拖放到這裡。',
  placeholder: 'AIza…\nAIza…',
  choose: '選擇檔案',
  dropped: '放開以讀取',
  notText: (name) => `${name} 不是文字檔。`,
  tooBig: (name) => `${name} 超過 5 MB，不太可能是金鑰清單。`,
  badJson: '開頭像 JSON，但格式不正確。請檢查括號、引號與逗號。',
  badEntry: (place) => `JSON 的第 ${place} 項既不是金鑰，也不是含有「key」的物件。`,
};
