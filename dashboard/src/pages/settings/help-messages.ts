interface Help {
  /** What each setting does. */
  effects: Record<string, string>;
  /** What settings take. */
  wants: [RegExp, string][];
  /** The same with what was wrong, if something was, and what was given. */
  tell: (wants: string, wrong: boolean, given: string | undefined) => string;
}

/** The server says it in English, so that only the other language is here. */
export const en: Help = {
  effects: {},
  wants: [[/^/, '']],
  tell: (wants, wrong, given) => (wrong ? `It takes ${wants}${given === undefined ? '' : `, not “${given}”`}.` : wants),
};

export const zh: Help = {
  effects: {
    GEMINI_API_KEYS: '啟動時要新增的 Gemini API 金鑰：JSON 陣列，或以逗號、空白、換行分隔。曾在程式中移除的金鑰不會再加回來。',
    ALLOWED_API_KEYS: '應用程式可用的存取金鑰，寫法同 GEMINI_API_KEYS，每把至少 16 個字元。不再列出的金鑰會在下次啟動後失效。完全沒有時，請看 ALLOW_ANONYMOUS。',
    ALLOW_WEAK_KEYS: 'true：接受少於 16 個字元的存取金鑰，以及屬於已知範例值的 MASTER_KEY。false：拒絕，因為可以猜到。',
    PORT: '監聽的連接埠；0 表示任選可用的。',
    HOST: '監聽的位址。預設：需要存取金鑰時為 0.0.0.0，不需要時為 127.0.0.1。',
    ALLOW_ANONYMOUS: 'true：沒有設定存取金鑰時，連得到的人都能使用。false：沒有時只監聽本機。',
    NEW_LOG: 'true（只用於一次啟動）：有 master.key 或 secret.key 而日誌不見時，仍開始新的日誌。false：拒絕啟動，因為日誌的磁碟區可能沒有掛載。',
    PUBLIC_URL: '應用程式看到的網址，例如 https://gemini.example.org，用於回應中的上傳網址。預設：請求的 Host。',
    TRUSTED_PROXIES: '您自己的反向代理位址與範圍，例如 127.0.0.1, 10.0.0.0/8。來自這些位址的請求，才採信 X-Forwarded-For（或 Forwarded）中的用戶端位址。',
    ALLOWED_ORIGINS: '哪些網站的網頁可以在瀏覽器裡使用金鑰池，例如 https://app.example.org，以逗號分隔；* 表示全部。留空表示都不行。',
    DATABASE_URL: '日誌的位置：fjall:資料夾，或 memory:（不保留）。',
    DATA_DIR: '存放產生的機密與執行中伺服器位址的資料夾。預設：DATABASE_URL 的資料夾，或 ./data。',
    ADMIN_USERNAME: '管理者的名稱。',
    ADMIN_PASSWORD: '管理者的密碼，至少 8 個字元。預設：自動產生，只顯示一次。',
    SECRET_KEY: '簽署管理者的存取權杖，至少 16 個字元。預設：自動產生並存於 DATA_DIR/secret.key。',
    MASTER_KEY: '加密磁碟上的金鑰，至少 16 個字元。預設：自動產生並存於 DATA_DIR/master.key。遺失後無法再解開金鑰。',
    ACCESS_TOKEN_EXPIRE_MINUTES: '管理者登入後的有效時間（分鐘）。',
    METRICS_TOKEN: '以此權杖讀取 /metrics 與 /readyz 的細節，至少 16 個字元。管理者的權杖與本機未經代理的請求也可以。',
    OTEL_EXPORTER_OTLP_ENDPOINT: '接收每個請求與每次嘗試的 OpenTelemetry 收集器，例如 http://localhost:4318。預設：沒有。',
    GEMINI_BASE_URL: '上游 API。',
    OUTBOUND_PROXY: '連往 Google 時使用的代理（自有代理的金鑰除外）：http://、socks5:// 或 socks5h://。不採用 HTTPS_PROXY 等變數。',
    MAX_FAILURES_PER_KEY: '連續幾次伺服器錯誤或逾時後，讓金鑰休息一陣子（若其他金鑰正常）。',
    MAX_ATTEMPTS: '每個請求最多嘗試幾次。被 Google 立即拒絕的金鑰（憑證無效、額度用完）不計，會立刻關閉並換下一把。',
    QUEUE_TIMEOUT: '所有金鑰都不可用、但即將恢復時，請求最多等待的秒數。0：立刻拒絕。',
    STRATEGY: '如何在可用的金鑰中選擇：least-loaded（負載最低）、round-robin（輪流），或 sticky（同一對話盡量用同一專案，以利用 Google 的隱式快取）。',
    REQUEST_TIMEOUT: '等到回應第一個位元組的秒數，含所有嘗試。長時間思考屬正常，Google 允許 10 分鐘。',
    STREAM_IDLE_TIMEOUT: '回應中途最多可停頓的秒數。',
    MAX_BODY_BYTES: '請求內容的大小上限（位元組）；100 MiB 是 Google 的上限。內容會留在記憶體中供重試。',
    BODY_MEMORY_BYTES: '所有請求內容合計可用的記憶體（位元組）。不夠時，佔用最多的用戶端讓給別的用戶端。',
    MAX_CONNECTIONS: '用戶端同時連線數的上限。預設：4096，檔案描述元不夠時更少。沒有空位時，占用最多的位址中閒置最久的連線先關閉。',
    SHUTDOWN_TIMEOUT: '伺服器停止時，讓進行中的請求完成的秒數；第二個訊號會立刻結束程式。',
    LOG_FAILURE: '無法寫入日誌的期間：continue 繼續服務（未記錄的會計數），refuse 拒絕，或 exit 結束程序。',
    KEY_RECHECK_INTERVAL: '憑證或專案故障的金鑰，隔幾秒檢查一次（不耗額度）；通過即恢復。',
    LOG_RETENTION_DAYS: '流量（請求與嘗試）保留的完整天數；0：永久。管理者的操作、金鑰的狀況與統計一律保留。',
    LOG_BODIES: '要保留哪些請求與回應的內容：off（不保留）、errors（只保留出錯的）或 all（全部）。只留文字的前 64 KiB，不含憑證；使用者寫的內容管理者都讀得到。',
    LOG_BODIES_RETENTION_DAYS: '保留的內容存放的天數。',
    DEBUG: 'true：程式自己的日誌更詳細。',
  },
  wants: [
    [/^a whole number from (\d+) to (\d+)$/, '$1 至 $2 的整數'],
    [/^a number of seconds from 0 to (\d+), such as 2 or 0\.5$/, '0 至 $1 的秒數，例如 2 或 0.5'],
    [/^an IP address such as (.+) or (.+)$/, 'IP 位址，例如 $1 或 $2'],
    [/^an address that begins with (.+) or (.+)$/, '以 $1 或 $2 開頭的網址'],
    [/^a name of (\d+) to (\d+) characters$/, '$1 至 $2 個字元的名稱'],
    [/^(\S+):FOLDER or (\S+)$/, '$1:資料夾 或 $2'],
    [/^a folder$/, '資料夾'],
    [/^at least (\d+) characters$/, '至少 $1 個字元'],
    [/^at least (\w+), .+$/, '至少與 $1 一樣大'],
    [/^a value; .+$/, '一個值'],
    [/^((?:\S+, )*\S+) or (\S+)$/, '$1 或 $2'],
  ],
  tell: (wants, wrong, given) => (wrong ? '應為：' : '') + wants + (given === undefined ? '' : `，而不是「${given}」`),
};
