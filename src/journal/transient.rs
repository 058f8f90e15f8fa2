//! Errors that say nothing of the disk: something was wanted that others hold just now, and that comes back.
//!
//! The one place that tells them apart. They are tried again; they are never damage, and never the end of the log.

use std::{
    error::Error as StdError,
    io,
    time::{Duration, Instant},
};

/// Descriptors, memory, or a moment.
const CODES: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR, libc::EAGAIN];
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// All tries together; whoever waits longer is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether an error comes from one of these.
pub(crate) fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(is_transient_io) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_transient_io(error: &io::Error) -> bool {
    if let Some(code) = error.raw_os_error() {
        return CODES.contains(&code);
    }
    // An error of the system may be wrapped in another error of the same type.
    error.get_ref().is_some_and(|inner| is_transient(inner))
}

/// Tries again, for a while, what fails for want of something that comes back. Blocks.
pub(crate) fn patiently<T, E: StdError + 'static>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if is_transient(&error) && Instant::now() < until => pause(PAUSE),
            done => return done,
        }
    }
}

/// Waits a moment.
#[expect(clippy::disallowed_methods, reason = "whoever waits for the disk blocks anyway")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;

    #[test]
    fn what_comes_back_is_told_from_what_does_not() {
        for code in CODES {
            let store = journal::Error::Store {
                what: "read",
                path: "there".into(),
                source: fjall::Error::Io(io::Error::from_raw_os_error(code)).into(),
            };
            assert!(is_transient(&store), "{code}");
            assert!(is_transient(&io::Error::other(io::Error::from_raw_os_error(code))), "{code}");
        }
        for code in [libc::ENOSPC, libc::EIO, libc::EROFS, libc::ENOENT] {
            assert!(!is_transient(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(!is_transient(&journal::Error::Poisoned));
    }

    #[test]
    fn it_is_tried_again_and_what_stays_is_told_at_once() {
        let mut left = 3;
        let found = patiently(|| {
            left -= 1;
            if left > 0 { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(left) }
        });
        assert_eq!(found.unwrap(), 0);
        let mut tries = 0;
        let failed = patiently(|| {
            tries += 1;
            Err::<(), _>(io::Error::from_raw_os_error(libc::ENOSPC))
        });
        assert!(failed.is_err());
        assert_eq!(tries, 1);
    }
}
