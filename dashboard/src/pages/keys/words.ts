/** Words between commas, of either keyboard. */
export function wordsOf(text: string): string[] {
  return [...new Set(text.split(/[,，、\n]/).map((word) => word.trim()).filter((word) => word !== ''))];
}
