use super::*;

#[test]
fn a_seed_repeats_itself() {
    let run = || Comparison::of_seed(2).unwrap_or_else(|failed| panic!("{failed}")).json();
    assert_eq!(run(), run());
}
