import type { Problem } from '$lib/api/problem';
import type { Locale } from './locale.svelte';

type Words = Record<string, (problem: Problem) => string>;

const wait = (problem: Problem) => problem.retryAfter ?? 1;

const en: Words = {
  bad_request: () => 'The server does not take this request.',
  bad_body: () => 'Something in what was sent is not what the server takes.',
  bad_parameter: () => 'One of the filters has a value that the server does not take.',
  bad_cursor: () => 'This page of the list is no longer valid. Go back to its beginning.',
  bad_settings: () => 'These settings cannot be so.',
  not_a_key: () => 'This does not look like a Gemini API key.',
  not_logged_in: () => 'You are not logged in.',
  wrong_login: () => 'The name or the password is wrong.',
  cross_site: () => 'The server takes this for another site’s request. If you reach it through a proxy, set PUBLIC_URL.',
  not_found: () => 'There is no such thing (any more).',
  method_not_allowed: () => 'The server does not take this method here.',
  resources_live: () => 'Files or caches at Google could not be reached any more without this key.',
  secret_taken: () => 'This secret belongs to another access key.',
  of_environment: () => 'This comes from the environment or .env, and is changed there.',
  too_many_clients: () => 'There are as many access keys as there may be.',
  duplicate_key: () => 'This key is in the pool already.',
  position_ahead: () => 'The log does not go that far: the server may run on another log, or on a backup.',
  dropped: () => 'This is older than what the log kept.',
  changed_meanwhile: () => 'Somebody changed it meanwhile. Look at it again, then repeat your change.',
  too_large: () => 'This is larger than the server takes at once.',
  unsupported_media_type: () => 'The server takes JSON only here.',
  idempotency_key_reused: () => 'This was sent before with other contents.',
  too_many_logins: (p) => `Too many wrong logins. The next one counts in ${wait(p)} s.`,
  too_many_readers: (p) => `As many pages as may listen to the feed. Trying again in ${wait(p)} s.`,
  too_many_jobs: (p) => `As many jobs as may run are running. Try again in ${wait(p)} s.`,
  internal: () => 'The server failed at this. Its own log says more.',
  indexing: () => 'The index of requests is being made. It will be there in a moment.',
  log_unavailable: () => 'The log cannot be written or read now. Nothing was changed.',
  stopping: () => 'The server is stopping.',
  unreachable: () => 'The server cannot be reached.',
};

const zh: Words = {
  bad_request: () => '伺服器無法接受這個請求。',
  bad_body: () => '送出的內容有不符合伺服器要求的地方。',
  bad_parameter: () => '有一項篩選條件的值不被伺服器接受。',
  bad_cursor: () => '這一頁清單已經失效，請回到清單開頭。',
  bad_settings: () => '這些設定不能這樣組合。',
  not_a_key: () => '這看起來不像 Gemini API 金鑰。',
  not_logged_in: () => '您尚未登入。',
  wrong_login: () => '使用者名稱或密碼錯誤。',
  cross_site: () => '伺服器認為這個請求來自其他網站。如果您透過代理伺服器連線，請設定 PUBLIC_URL。',
  not_found: () => '找不到，或已經不存在。',
  method_not_allowed: () => '伺服器在這裡不接受這種方法。',
  resources_live: () => '沒有這把金鑰，就再也取不到 Google 端的檔案或快取。',
  secret_taken: () => '這組密鑰屬於另一把存取金鑰。',
  of_environment: () => '這來自環境變數或 .env，只能在那裡修改。',
  too_many_clients: () => '存取金鑰數量已達上限。',
  duplicate_key: () => '這把金鑰已經在金鑰池裡。',
  position_ahead: () => '日誌還沒到那個位置：伺服器可能換了日誌，或正在使用備份。',
  dropped: () => '這比日誌保留的範圍更早。',
  changed_meanwhile: () => '這段時間有人改過它。請重新查看後再修改一次。',
  too_large: () => '超過伺服器一次能接受的大小。',
  unsupported_media_type: () => '伺服器在這裡只接受 JSON。',
  idempotency_key_reused: () => '這個請求先前已用不同內容送出過。',
  too_many_logins: (p) => `登入錯誤次數過多，${wait(p)} 秒後才能再試。`,
  too_many_readers: (p) => `收聽事件的頁面已達上限，${wait(p)} 秒後重試。`,
  too_many_jobs: (p) => `執行中的工作已達上限，請在 ${wait(p)} 秒後再試。`,
  internal: () => '伺服器處理時發生錯誤，詳情請看伺服器的日誌。',
  indexing: () => '正在建立請求的索引，請稍候。',
  log_unavailable: () => '目前無法讀寫日誌，沒有任何變更。',
  stopping: () => '伺服器正在停止。',
  unreachable: () => '無法連線到伺服器。',
};

/** Every code of the API's problems, in both languages. */
export const problemWords: Record<Locale, Words> = { en, 'zh-TW': zh };
