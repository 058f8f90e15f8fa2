use super::*;

/// How long the first batch is, and the records in it.
pub(in crate::journal::fjall) fn first_batch(bytes: &[u8]) -> Option<(usize, Vec<Seq>)> {
    match parse(bytes, bytes.len() as u64) {
        Parsed::Batch(length, items) => Some((length, items.iter().filter_map(Item::record).collect())),
        Parsed::More | Parsed::Bad(_) => None,
    }
}

/// Where the whole batches end that these bytes begin with.
pub(in crate::journal::fjall) fn whole(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some((length, _)) = first_batch(&bytes[at..]) {
        at += length;
    }
    at
}

fn item(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![ITEM, u8::from(value.is_none()), 0];
    let value = value.unwrap_or_default();
    bytes.extend(7_u64.to_le_bytes());
    bytes.extend((key.len() as u16).to_le_bytes());
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend((value.len() as u32).to_le_bytes());
    [&bytes, key, value].concat()
}

fn batch_of(items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![START];
    bytes.extend((items.len() as u32).to_le_bytes());
    bytes.extend(3_u64.to_le_bytes());
    let content = items.concat();
    bytes.extend(&content);
    bytes.push(END);
    bytes.extend(xxhash_rust::xxh3::xxh3_64(&content).to_le_bytes());
    bytes.extend(TRAILER);
    bytes
}

#[test]
fn a_batch_is_read_as_it_was_written() {
    let mut cleared = vec![CLEAR];
    cleared.extend(9_u64.to_le_bytes());
    let bytes = batch_of(&[item(b"one", Some(b"1")), item(b"two", None), cleared]);
    let Parsed::Batch(length, items) = parse(&bytes, bytes.len() as u64) else { panic!("it is whole") };
    assert_eq!(length, bytes.len());
    let read: Vec<_> = items.iter().map(|item| (item.space, item.key, item.value().unwrap())).collect();
    assert_eq!(read, [(7, &b"one"[..], Some(b"1".to_vec())), (7, b"two", None)]);
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end], bytes.len() as u64), Parsed::More, "there is more in the file");
        assert!(matches!(parse(&bytes[..end], end as u64), Parsed::Bad(_)), "there is no more");
    }
}

/// Nothing is allocated, and nothing waited for, that the file does not hold.
#[test]
fn lengths_are_held_against_what_is_there() {
    let whole = batch_of(&[item(b"one", Some(b"1"))]);
    for (place, bytes) in [(1, 4), (13 + 11, 2), (13 + 13, 4), (13 + 17, 4)] {
        let mut huge = whole.clone();
        huge[place..place + bytes].fill(0xff);
        assert!(matches!(parse(&huge, huge.len() as u64), Parsed::Bad(_)), "the length at byte {place}");
    }
}

#[test]
fn what_is_whole_behind_a_bad_place_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.jnl");
    let batches: Vec<_> =
        (0..5_u8).map(|number| batch_of(&[item(&[number], Some(&[number; 400]))])).collect();
    let mut bytes = batches.concat();
    bytes[batches[0].len() + 100] ^= 1;
    bytes.resize(bytes.len() + 1_000, 0);
    std::fs::write(&path, &bytes).unwrap();
    let scanned = scan(&path).unwrap();
    assert_eq!((scanned.whole, scanned.used), (batches[0].len() as u64, 5 * batches[0].len() as u64));
    assert!(scanned.is_torn());
    let lost = keep_whole_batches(&path).unwrap();
    let mut keys = Vec::new();
    each_whole_batch(&path, &mut |items| keys.extend(items.iter().map(|item| item.key[0]))).unwrap();
    assert_eq!((keys, lost), (vec![0, 2, 3, 4], batches[1].len() as u64));
}
