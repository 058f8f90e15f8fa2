//! The stream against the naive way.

use proptest::prelude::*;

use super::*;

fn in_chunks(secret: &[u8], text: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut scrubber = Scrubber::new(&Forms::new(secret));
    let (mut rest, mut out) = (Bytes::copy_from_slice(text), Vec::new());
    for size in sizes {
        let chunk = rest.split_to((*size).min(rest.len()));
        out.extend_from_slice(&scrubber.scrub(chunk));
    }
    out.extend_from_slice(&scrubber.scrub(rest));
    out.extend_from_slice(&scrubber.finish());
    out
}

proptest! {
    /// However a text is cut, a secret in it is found when its last byte has gone by, and not before.
    #[test]
    fn law_a_secret_is_found_wherever_it_is_cut(
        before in "[AIza/-]{0,40}",
        after in "[AIza/-]{0,20}",
        sizes in proptest::collection::vec(0..12_usize, 0..20),
    ) {
        let secret = b"AIza/z-AI";
        let text = [before.as_bytes(), secret, after.as_bytes()].concat();
        let (mut hunt, mut gone) = (Hunt::new(&Forms::new(secret)), 0_usize);
        for size in sizes.into_iter().chain([usize::MAX]) {
            let end = text.len().min(gone.saturating_add(size));
            hunt.feed(&text[gone..end]);
            gone = end;
            let is_there = memmem::find(&text[..gone], secret).is_some();
            prop_assert_eq!(hunt.found(), is_there);
        }
    }
}

#[test]
fn a_key_is_masked_wherever_it_stands_and_lengths_stay() {
    let text = br#"{"message":"Consumer 'api_key:AIzaSy-x' suspended","a":"AIzaSy-xAIzaSy-x","b":"AIzaSy-"}"#;
    let masked =
        br#"{"message":"Consumer 'api_key:********' suspended","a":"****************","b":"AIzaSy-"}"#;
    for size in 1..text.len() {
        let sizes = vec![size; text.len() / size];
        assert_eq!(in_chunks(b"AIzaSy-x", text, &sizes), masked);
    }
    let mut whole = text.to_vec();
    Forms::new(b"AIzaSy-x").mask(&mut whole);
    assert_eq!(whole, masked);
}

#[test]
fn a_key_is_masked_in_its_escaped_forms() {
    let secret = b"AQ.a/b\"c<d";
    let text = concat!(
        r#"plain AQ.a/b"c<d, url AQ.a%2Fb%22c%3Cd AQ.a%2fb%22c%3cd, "#,
        r#"json AQ.a/b\"c<d AQ.a\/b\"c<d AQ.a/b\"c\u003cd."#
    );
    let mut whole = text.as_bytes().to_vec();
    Forms::new(secret).mask(&mut whole);
    let stars = |count| "*".repeat(count);
    let expected = format!(
        "plain {}, url {} {}, json {} {} {}.",
        stars(10),
        stars(16),
        stars(16),
        stars(11),
        stars(12),
        stars(16)
    );
    assert_eq!(String::from_utf8(whole).unwrap(), expected);
    for size in [1, 2, 3, 7, 20] {
        assert_eq!(in_chunks(secret, text.as_bytes(), &vec![size; 200]), expected.as_bytes());
    }
}

#[test]
fn only_what_may_begin_a_key_is_held_back() {
    let mut scrubber = Scrubber::new(&Forms::new(b"AIzaSy-x"));
    assert_eq!(scrubber.scrub(Bytes::from_static(b"data AIzaS")), "data ");
    assert_eq!(scrubber.scrub(Bytes::from_static(b"")), "");
    assert_eq!(scrubber.scrub(Bytes::from_static(b"y-")), "");
    assert_eq!(scrubber.scrub(Bytes::from_static(b"xyz")), "********yz");
    assert_eq!(scrubber.scrub(Bytes::from_static(b"AIAIz")), "AI");
    assert_eq!(scrubber.finish(), "AIz");
}

#[test]
fn a_chunk_without_it_is_not_copied() {
    let mut scrubber = Scrubber::new(&Forms::new(b"AIzaSy-x"));
    let chunk = Bytes::from(b"nothing here\r\n\r\n".to_vec());
    let out = scrubber.scrub(chunk.clone());
    assert_eq!((out.as_ptr(), out.len()), (chunk.as_ptr(), chunk.len()));
    let chunk = Bytes::from(b"nothing here but AI".to_vec());
    let out = scrubber.scrub(chunk.clone());
    assert_eq!((out.as_ptr(), out.len()), (chunk.as_ptr(), chunk.len() - 2));
}

#[test]
fn an_empty_secret_is_never_found_and_none_is_printed() {
    assert_eq!(in_chunks(b"", b"text", &[1, 1]), b"text");
    let mut text = b"text".to_vec();
    Forms::new(b"").mask(&mut text);
    assert_eq!(text, b"text");
    let mut held = Scrubber::new(&Forms::new(b"secret-key"));
    let _ = held.scrub(Bytes::from_static(b"secret"));
    assert_eq!(format!("{held:?}"), "Scrubber");
}

/// The secret's bytes and the text's, of few letters, so that they meet and overlap often.
fn letters(letters: &'static [u8], most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(letters.to_vec()), 0..most)
}

proptest! {
    /// Law: in chunks, one gets what masking the whole gives; no occurrence is left; no
    /// other byte is changed.
    #[test]
    fn law_chunks_make_no_difference(
        secret in letters(b"ab", 6),
        text in letters(b"abc", 80),
        sizes in prop::collection::vec(0_usize..7, 0..40),
    ) {
        let naive = match std::str::from_utf8(&secret) {
            Ok("") | Err(_) => text.clone(),
            Ok(secret) => String::from_utf8(text.clone()).unwrap().replace(secret, &"*".repeat(secret.len())).into_bytes(),
        };
        prop_assert_eq!(in_chunks(&secret, &text, &sizes), naive.clone());
        let mut whole = text.clone();
        Forms::new(&secret).mask(&mut whole);
        prop_assert_eq!(&whole, &naive);
        prop_assert!(secret.is_empty() || memmem::find(&whole, &secret).is_none());
    }

    /// Law: the same where the secret has several forms.
    #[test]
    fn law_forms_make_no_difference(
        secret in letters(b"a/\"", 4),
        text in prop::collection::vec(prop::sample::select(vec!["a", "/", "\"", "%2F", "%2f", "%22", "\\\"", "\\/", "\\"]), 0..40),
        sizes in prop::collection::vec(0_usize..7, 0..40),
    ) {
        let text = text.concat().into_bytes();
        let mut whole = text.clone();
        Forms::new(&secret).mask(&mut whole);
        prop_assert_eq!(in_chunks(&secret, &text, &sizes), whole);
    }
}
