//! Patterns for models' names: `*` stands for any text, also none, and every other
//! character for itself.
//!
//! Its invariant: matching takes at most (length of the pattern) × (length of the
//! name) steps and no memory, whatever an operator writes.

/// Whether a pattern fits a name.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    // The first piece stands at the beginning, the last at the end, the others anywhere in their order.
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        // The earliest place leaves the most for the others.
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_all_else_is_itself() {
        for (pattern, fits, fits_not) in [
            ("gemini-2.5-pro", &["gemini-2.5-pro"][..], &["gemini-2.5-pro-exp", "gemini-2x5-pro", ""][..]),
            ("gemini-2.5-*", &["gemini-2.5-pro", "gemini-2.5-"], &["gemini-2.5", "x-gemini-2.5-pro"]),
            ("*-flash", &["gemini-2.5-flash", "-flash"], &["gemini-2.5-flash-lite"]),
            ("*flash*", &["gemini-2.5-flash-lite", "flash"], &["gemini-2.5-pro"]),
            ("g*-*-pro", &["gemini-2.5-pro", "g---pro"], &["gemini-pro", "g--pr"]),
            ("ab*ba", &["abba", "abxba"], &["aba", "ab", "ba"]),
            ("*a*a*", &["aa", "banana"], &["a", ""]),
            ("*", &["", "anything"], &[]),
            ("**", &["", "anything"], &[]),
            ("", &[""], &["x"]),
            ("模型*", &["模型一"], &["模"]),
        ] {
            for name in fits {
                assert!(matches(pattern, name), "{pattern} fits {name}");
            }
            for name in fits_not {
                assert!(!matches(pattern, name), "{pattern} does not fit {name}");
            }
        }
    }

    /// Said another way, slow and plain: all short patterns over all short names.
    #[test]
    fn it_is_what_the_definition_says() {
        fn defined(pattern: &[u8], name: &[u8]) -> bool {
            match pattern.split_first() {
                None => name.is_empty(),
                Some((b'*', rest)) => (0..=name.len()).any(|taken| defined(rest, &name[taken..])),
                Some((letter, rest)) => {
                    name.split_first().is_some_and(|(l, n)| l == letter && defined(rest, n))
                }
            }
        }
        fn words(letters: &str, most: u32) -> Vec<String> {
            let mut all = vec![String::new()];
            let mut longest = all.clone();
            for _ in 0..most {
                longest = longest
                    .iter()
                    .flat_map(|word| letters.chars().map(move |c| format!("{word}{c}")))
                    .collect();
                all.extend(longest.iter().cloned());
            }
            all
        }
        for pattern in words("ab*", 5) {
            for name in words("ab", 6) {
                let wanted = defined(pattern.as_bytes(), name.as_bytes());
                assert_eq!(matches(&pattern, &name), wanted, "{pattern} and {name}");
            }
        }
    }
}
