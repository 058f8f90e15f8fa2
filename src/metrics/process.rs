//! What the operating system says of this process.

/// Its resident memory, in bytes; none where the system does not tell (it is Linux's `/proc` that does).
pub(super) fn resident_memory() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Its open file descriptors; none where the system does not tell.
pub(super) fn open_descriptors() -> Option<u64> {
    // One of them is for this look.
    let all = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(all.saturating_sub(1))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_and_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12345 kB\nThreads:\t4\n"), Some(12_345 * 1_024));
        assert_eq!(resident("VmRSS:\t lots\n"), None);
        assert_eq!(resident(""), None);
    }
}
