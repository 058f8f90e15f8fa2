//! Secrets that are none: placeholders that somebody published, and keys so short that they can be guessed.
//!
//! Pure. A placeholder is known to everybody who read the file that it stands in, so it lets everybody in. Owns what
//! counts as one, and what is told of it. Its invariant: no message repeats the secret, unless it is a placeholder.

/// Characters of an access key, at least, unless ALLOW_WEAK_KEYS says otherwise.
pub(crate) const KEY_LENGTH: usize = 16;

/// Texts that stand in published files in the place of a secret, in lower case, with `-` for every other mark.
const PUBLISHED: &[&str] = &[
    // The original's `.env`.
    "a-very-secret-key-please-change-me",
    "your-secure-password",
    // This program's own documents, before they named a command instead.
    "an-access-key-of-your-own",
    // What people write when they mean to come back to it.
    "0123456789abcdef",
    "12345678",
    "123456789",
    "1234567890",
    "1234567890123456",
    "admin123",
    "administrator",
    "default-password",
    "letmein",
    "password",
    "password1",
    "password123",
    "passw0rd",
    "qwertyuiop",
    "secret",
    "secret-key",
    "supersecret",
    "super-secret",
    "super-secret-key",
    "super-secret-password",
    "my-secret-key",
    "my-secret-password",
    "secretpassword",
    "test-password",
    "placeholder",
];

/// Words that no secret has by chance.
const TELLTALE: &[&str] =
    &["change-me", "changeme", "changeit", "change-it", "please-change", "replace-me", "replaceme"];

/// What stands behind `your`, or before a number, in a placeholder.
const NOUNS: &[&str] = &["key", "keys", "password", "secret", "token", "here"];

/// Whether a text stands for a secret and is none.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let plain: String = text
        .trim_matches(|c: char| c.is_whitespace() || "<>[]{}\"'`".contains(c))
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    if text.chars().any(|c| !c.is_ascii() || c == ' ') {
        return false;
    }
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let has_noun = words.iter().any(|word| NOUNS.contains(word));
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase()) && word.len() <= 12;
    // `CLIENT_KEY_1`, `GEMINI_API_KEY_2`: a number, and nothing but words before it.
    let is_numbered = match words.split_last() {
        Some((last, before)) => {
            is_number(last)
                && last.len() <= 3
                && before.last().is_some_and(|word| NOUNS.contains(word))
                && before.iter().all(is_name)
        }
        None => true,
    };
    // `YOUR_GEMINI_KEY_1`, `your-api-key-here`, `your_password`.
    let is_yours = matches!(words.first(), Some(&"your" | &"my" | &"insert" | &"enter"))
        && has_noun
        && words.iter().all(|word| is_name(word) || is_number(word));
    let same = plain.len() >= 4 && plain.bytes().all(|byte| plain.as_bytes().first() == Some(&byte));
    PUBLISHED.contains(&plain.as_str())
        || TELLTALE.iter().any(|telltale| plain.contains(telltale))
        || is_numbered
        || is_yours
        || same
}

/// How to make a good one.
pub(crate) fn how_to_make(name: &str) -> &'static str {
    match name {
        "GEMINI_API_KEYS" => "make one at https://aistudio.google.com/apikey",
        "ADMIN_PASSWORD" => {
            "make one with `openssl rand -base64 24`, or leave it out: one is made at the first start, and printed once"
        }
        "SECRET_KEY" => {
            "make one with `openssl rand -base64 32`, or leave it out: one is made and kept in DATA_DIR"
        }
        "MASTER_KEY" => {
            "make one with `openssl rand -base64 32`. A pool that is sealed with it opens with ALLOW_WEAK_KEYS=true, \
             until `gemini-pool admin rotate-master-key` has sealed it with a good one"
        }
        "ALLOWED_API_KEYS" => {
            "make one with `openssl rand -hex 32`, or leave it out and let `gemini-pool clients create` make one"
        }
        _ => "make one with `openssl rand -base64 32`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_and_secrets_are_none() {
        for text in [
            "a_very_secret_key_please_change_me",
            "your_secure_password",
            "YOUR_GEMINI_KEY_1",
            "YOUR_GEMINI_KEY_2",
            "CLIENT_KEY_1",
            "CLIENT_KEY_12",
            "GEMINI_API_KEY_1",
            "your-api-key-here",
            "YOUR_API_KEY",
            "<your-token>",
            "my_secret_key",
            "changeme",
            "ChangeMe123!",
            "password",
            "secret",
            "an-access-key-of-your-own",
            "xxxxxxxxxxxxxxxx",
            "****************",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in [
            "your secret garden of a thousand kiwis",
            "a password for tests",
            "client-key-for-tests-0001",
            "second-client-key-0002",
            "AIza-good-1",
            "gp-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy",
            "q7V9y0ZzT2m4",
            "4f0c1d2e3a5b6978",
            "key-of-the-shop-2026",
            "密碼密碼密碼密碼",
            "x",
        ] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
