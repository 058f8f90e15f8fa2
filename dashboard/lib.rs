//! The web dashboard's files, packed into the program when it is built (`build.rs`).
//!
//! Owns the table of assets and nothing else: who may have them, and with which headers, is the service's business.

/// One file of the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Where it is, such as `/assets/index-CLUq7UyZ.css`.
    pub path: &'static str,
    /// Its media type.
    pub media: &'static str,
    /// A digest of what is in it.
    pub digest: &'static str,
    /// Its name has a digest of its contents: under this name it never changes.
    pub immutable: bool,
    /// As it is.
    pub plain: &'static [u8],
    /// The same, packed with Brotli, where that is smaller.
    pub brotli: Option<&'static [u8]>,
    /// The same, packed with gzip, where that is smaller.
    pub gzip: Option<&'static [u8]>,
}

/// Every file, in the order of paths; the first page among them.
pub const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Asset> {
    let at = ASSETS.binary_search_by(|asset| asset.path.cmp(path)).ok()?;
    ASSETS.get(at)
}

/// The page that every address of the dashboard begins with.
#[must_use]
pub fn index() -> Option<&'static Asset> {
    find("/index.html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_and_the_first_page_is_one() {
        assert!(index().is_some());
        assert!(ASSETS.is_sorted_by_key(|asset| asset.path));
        for asset in ASSETS {
            assert_eq!(find(asset.path).map(|found| found.digest), Some(asset.digest));
            assert!(asset.path.starts_with('/') && !asset.plain.is_empty(), "{}", asset.path);
            assert_eq!(asset.immutable, asset.path.starts_with("/assets/"), "{}", asset.path);
        }
        assert!(find("/").is_none() && find("/nothing").is_none());
    }
}
