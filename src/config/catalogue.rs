//! Every setting there is: name, default, and a sentence for people.
//!
//! `.env.example` and `gemini-pool config` are made from this table, and a test
//! holds them to it.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// What is in force when nobody says otherwise; empty: see the help.
    pub default: &'static str,
    /// Its value is not to be shown, and `NAME_FILE` may name a file that holds it.
    pub secret: bool,
    /// It may change while the pool runs, over the admin API; then what is said there wins.
    pub live: bool,
    /// What it does, in a sentence or two.
    pub help: &'static str,
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, secret: false, live: false, help }
}

const fn live(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, secret: false, live: true, help }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting { name, default: "", secret: true, live: false, help }
}

/// All of them, in the order people look for them.
pub const SETTINGS: &[Setting] = &[
    secret(
        "GEMINI_API_KEYS",
        "Upstream Gemini API keys to add at start: a JSON array, or separated by commas, spaces or lines. \
         A key that was removed through the program stays removed.",
    ),
    secret(
        "ALLOWED_API_KEYS",
        "Access keys that apps may use, written like GEMINI_API_KEYS; at least 16 characters each. One that is no \
         longer named here loses its access at the next start. None at all: see ALLOW_ANONYMOUS.",
    ),
    setting(
        "ALLOW_WEAK_KEYS",
        "false",
        "true: access keys below 16 characters are taken, and a MASTER_KEY that is a known placeholder, with a warning. \
         false: they are refused, because they can be guessed.",
    ),
    setting("PORT", "8000", "Port to listen on; 0 takes a free one."),
    setting(
        "HOST",
        "",
        "Address to listen on. Default: 0.0.0.0 when apps need an access key, 127.0.0.1 when they do not.",
    ),
    setting(
        "ALLOW_ANONYMOUS",
        "false",
        "true: without any access key configured, everybody who can reach the port may use the pool. \
         false: as long as there was never one, requests of this machine itself may, and none that a proxy on \
         it passes on (it tells by a header such as X-Forwarded-For, by HTTP/1.0, or by standing in TRUSTED_PROXIES).",
    ),
    live(
        "PUBLIC_URL",
        "",
        "The pool's address as apps see it, such as https://gemini.example.org, for upload addresses in \
         answers. Default: the Host that the request names.",
    ),
    live(
        "TRUSTED_PROXIES",
        "",
        "Addresses and ranges of your own reverse proxies, such as 127.0.0.1, 10.0.0.0/8. Where a request comes from \
         one of them, the client's address is the nearest in X-Forwarded-For (or else Forwarded) that is none of \
         them; from anybody else those headers are not believed. Connections from them have no share of MAX_CONNECTIONS \
         that they are held to.",
    ),
    live(
        "ALLOWED_ORIGINS",
        "",
        "Origins of web pages whose scripts may use the pool from a browser, such as https://app.example.org; * for all. \
         What browsers ask beforehand is answered for them (CORS). Default: none. An access key in a page is known to \
         everybody who sees the page.",
    ),
    setting(
        "DATABASE_URL",
        "fjall:./data",
        "Where the log is: fjall:FOLDER, or memory: for none that stays.",
    ),
    setting(
        "DATA_DIR",
        "",
        "Folder for generated secrets and the running server's address. Default: the folder of DATABASE_URL, \
         or ./data.",
    ),
    setting(
        "NEW_LOG",
        "false",
        "true, for one start: begin a new log where master.key or secret.key tells that a pool was there and its log is \
         missing. false: such a start is refused, because the log's volume may not be mounted.",
    ),
    setting("ADMIN_USERNAME", "admin", "Name of the administrator."),
    secret(
        "ADMIN_PASSWORD",
        "Password of the administrator; at least 8 characters. Default: one is made, and printed once.",
    ),
    secret(
        "SECRET_KEY",
        "Signs administrators' access tokens; at least 16 characters. Default: made and kept in DATA_DIR/secret.key.",
    ),
    secret(
        "MASTER_KEY",
        "Seals the upstream keys on disk; at least 16 characters. Default: made and kept in DATA_DIR/master.key. \
         Without it the sealed keys cannot be opened again.",
    ),
    live(
        "ACCESS_TOKEN_EXPIRE_MINUTES",
        "30",
        "How long an administrator's access token is good, in minutes.",
    ),
    secret(
        "METRICS_TOKEN",
        "Opens /metrics, and the details of /readyz, to whoever sends it as a bearer token; at least 16 characters. An \
         administrator's token does so too, and so do programs on this machine whose requests no proxy has passed on.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OpenTelemetry collector that gets a span for every request and every upstream try, such as \
         http://localhost:4318 (OTLP over HTTP, in JSON, at /v1/traces below it). Default: none does.",
    ),
    setting("GEMINI_BASE_URL", "https://generativelanguage.googleapis.com", "The upstream API."),
    secret(
        "OUTBOUND_PROXY",
        "The proxy that all calls to Google go through, but those of keys with one of their own: \
         http://[user:password@]host:port (CONNECT), socks5://… (names are looked up here) or socks5h://… (by the \
         proxy). HTTPS_PROXY and its like are not looked at.",
    ),
    live(
        "MAX_FAILURES_PER_KEY",
        "3",
        "Server errors or timeouts in a row after which a key rests for a while, if other keys do well.",
    ),
    live(
        "MAX_ATTEMPTS",
        "3",
        "Upstream tries per request at most, 1 to 10. A key that Google refuses at the door (bad credential, spent \
         quota) does not count: it is closed at once, and the next one is tried.",
    ),
    live(
        "QUEUE_TIMEOUT",
        "5",
        "Seconds, such as 5 or 0.5, that a request may wait for a key when all are out and the first is known to be \
         back by then; 0 to 600. 0: it is refused at once.",
    ),
    live(
        "STRATEGY",
        "least-loaded",
        "How to choose among usable keys: least-loaded, round-robin, or sticky (the turns of one conversation go to one \
         project while it can serve, where Google's implicit cache knows its beginning; else as least-loaded).",
    ),
    live(
        "REQUEST_TIMEOUT",
        "600",
        "Seconds to the first byte of an answer, all tries together. Long thinking is normal: Google allows 10 minutes.",
    ),
    live("STREAM_IDLE_TIMEOUT", "300", "Seconds that an answer may pause in the middle."),
    live(
        "MAX_BODY_BYTES",
        "104857600",
        "Largest request body, in bytes (100 MiB: Google's limit for inline data). It is kept in memory for other tries. \
         A piece of an upload may be of any size: over 16 MiB it is passed on as it comes.",
    ),
    setting(
        "BODY_MEMORY_BYTES",
        "536870912",
        "Memory for request bodies of all requests together, and for what Live sessions hold, in bytes. One client alone \
         may have all of it; where there is none left for another one, the slowest body of the client with most is \
         refused (503, BODY_MEMORY_SHARE), so that nobody with less than an equal share is.",
    ),
    setting(
        "MAX_CONNECTIONS",
        "",
        "Clients' connections at once. Default: 4096, or fewer where there are not file descriptors for them (two each, \
         beside those of the log; the limit, ulimit -n, is raised as far as the system allows). When there is no room \
         for another, the oldest idle one goes, of the address that has most (of IPv6: the /64).",
    ),
    setting(
        "SHUTDOWN_TIMEOUT",
        "30",
        "Seconds that running requests get to end when the server stops; a second signal ends it at once.",
    ),
    live(
        "LOG_FAILURE",
        "continue",
        "While the log cannot be written (it is opened anew every 2 seconds): continue serving, where what is not recorded \
         is counted; refuse; or exit, which ends the process within 5 seconds, with an exit code, so that its \
         supervisor starts it anew.",
    ),
    live(
        "KEY_RECHECK_INTERVAL",
        "3600",
        "Seconds between checks of a key whose credential or project failed, by a call that spends no quota; one that \
         passes brings it back.",
    ),
    live(
        "LOG_RETENTION_DAYS",
        "30",
        "Full days that traffic (requests and their tries) stays in the log; 0: for ever. What operators did and what the \
         pool learned of its keys stays in any case, and so does what was counted.",
    ),
    live(
        "LOG_BODIES",
        "off",
        "Bodies of requests and answers to keep, for the request's page: off, errors (of requests that did not go well) or \
         all. Text alone, its first 64 KiB, without credentials; what people wrote stays readable in it for \
         administrators.",
    ),
    live("LOG_BODIES_RETENTION_DAYS", "7", "Days that kept bodies stay, 1 to 3650."),
    live("DEBUG", "false", "true: more in the program's own log."),
];
