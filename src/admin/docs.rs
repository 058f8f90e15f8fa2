//! The API for people to read and try: Swagger UI over the document, at `/api/docs`, for administrators.
//!
//! Owns the page, and the policy that it runs under. Swagger UI's files are the ones that the framework carries; they
//! are cut out of its page, which has everything inline, so that nothing has to be inline in this one. Its invariant:
//! the page loads nothing and asks nothing but this server, and what is tried on it is a call like any other, by the
//! session of whoever looks at it.

use std::sync::LazyLock;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use poem::{
    Response,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

/// Nothing inline, nothing from elsewhere, in nobody's frame. (Swagger UI's style sheet has its pictures in itself.)
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>API - Gemini-Pool</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/api/docs/swagger-ui.css">
    <script src="/api/docs/swagger-ui.js" defer></script>
    <script src="/api/docs/start.js" defer></script>
  </head>
  <body>
    <noscript>This page needs JavaScript. The document itself is at <a href="/api/openapi.json">/api/openapi.json</a>.</noscript>
    <div id="ui"></div>
  </body>
</html>
"#;

/// A change by cookie wants the header (see `cookie`); the validator would be somebody else's server.
const START: &str = "\
'use strict';
SwaggerUIBundle({
  dom_id: '#ui',
  url: '/api/openapi.json',
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  requestInterceptor: (request) => {
    request.headers['X-Requested-With'] = 'gemini-pool';
    return request;
  },
});
";

/// A file of the page.
pub(super) struct File {
    path: &'static str,
    media: &'static str,
    plain: Bytes,
    gzip: Bytes,
    tag: String,
}

static FILES: LazyLock<[File; 4]> = LazyLock::new(|| {
    let inlined = super::service(None).swagger_ui_html();
    let cut = |from: &str, to: &str| {
        let found = inlined.split_once(from).and_then(|(_, rest)| rest.split_once(to));
        found.map(|(text, _)| text).unwrap_or_default()
    };
    [
        File::new("/docs", "text/html; charset=utf-8", PAGE),
        File::new("/docs/start.js", "text/javascript; charset=utf-8", START),
        File::new(
            "/docs/swagger-ui.css",
            "text/css; charset=utf-8",
            cut(r#"<style charset="UTF-8">"#, "</style>"),
        ),
        File::new(
            "/docs/swagger-ui.js",
            "text/javascript; charset=utf-8",
            cut(r#"<script charset="UTF-8">"#, "</script>"),
        ),
    ]
});

/// Whether a path is the page's, or one of its files'.
pub(super) fn has(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// The file at a path. The first call makes them, which takes a moment: it waits on a thread that may.
pub(super) async fn find(path: &str) -> Option<&'static File> {
    let files = tokio::task::spawn_blocking(|| LazyLock::force(&FILES)).await.ok()?;
    files.iter().find(|file| file.path == path)
}

impl File {
    fn new(path: &'static str, media: &'static str, text: &str) -> Self {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        // Writing into memory does not fail.
        let _ = std::io::Write::write_all(&mut packed, text.as_bytes());
        let digest = blake3::hash(text.as_bytes()).to_hex();
        Self {
            path,
            media,
            plain: Bytes::copy_from_slice(text.as_bytes()),
            gzip: packed.finish().unwrap_or_default().into(),
            tag: digest.chars().take(32).collect(),
        }
    }

    /// The answer to whoever may have it.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let says = |name: header::HeaderName, word: &str| {
            let lines = asked.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
            lines.flat_map(|line| line.split(',')).any(|item| item.trim() == word)
        };
        let packed = says(header::ACCEPT_ENCODING, "gzip");
        let tag = format!("\"{}-{}\"", self.tag, if packed { "gzip" } else { "plain" });
        let mut response = Response::builder()
            .header(header::ETAG, &tag)
            .header(header::CACHE_CONTROL, "private, no-cache")
            .header(header::VARY, "Accept-Encoding, Cookie, Authorization")
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(header::REFERRER_POLICY, "no-referrer")
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .finish();
        if says(header::IF_NONE_MATCH, &tag) {
            response.set_status(StatusCode::NOT_MODIFIED);
            return response;
        }
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        if packed {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.set_body(if packed { self.gzip.clone() } else { self.plain.clone() });
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are cut out of a page of the framework's, which may change.
    #[test]
    fn the_files_are_whole_and_nothing_is_inline() {
        for file in FILES.iter() {
            let text = std::str::from_utf8(&file.plain).unwrap();
            assert!(!text.is_empty() && !file.gzip.is_empty(), "{}", file.path);
        }
        let [_, _, style, script] = &*FILES;
        assert!(style.plain.starts_with(b".swagger-ui") && style.plain.len() > 100_000);
        assert!(script.plain.len() > 1_000_000 && script.gzip.len() < 500_000);
        for never in ["<style", " style=", "javascript:", " onclick=", "http://", "https://", "<script>"] {
            assert!(!PAGE.contains(never), "{never}");
        }
    }
}
