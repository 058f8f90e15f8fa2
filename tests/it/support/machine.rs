//! Bad machines: a disk that is small, slow or read-only, a clock that is wrong, a log that nobody reads.
//!
//! Each lasts as long as its value. Where this user may not make one, that is said and the test passes.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use super::{Setup, skipped};

/// A command that needs root or a tool; false where it cannot be done here, which is said.
fn done(what: &str, command: &mut Command) -> bool {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => true,
        Ok(Output { stderr, .. }) => {
            skipped(&format!("{what} cannot be made here: {}", String::from_utf8_lossy(&stderr).trim_end()));
            false
        }
        Err(error) => {
            skipped(&format!("{what} cannot be made here: {error}"));
            false
        }
    }
}

/// A disk of a few megabytes on a folder of the test's own.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// In memory. None where this user may not mount.
    pub(crate) fn on(folder: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(folder);
        done("a small disk", &mut mount).then(|| Self(folder.to_owned()))
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write(&[1; 4_096]).is_ok_and(|written| written > 0) {}
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, should somebody still hold a file on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system of its own kind in a file, that can turn read-only under whoever writes, as ext4 does on an error of
/// the disk.
pub(crate) struct FailingDisk(PathBuf);

impl FailingDisk {
    /// None where this user may not make or mount one.
    pub(crate) fn on(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let image = folder.with_extension("img");
        fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
        let made = done("a file system", Command::new("mkfs.ext4").arg("-q").arg(&image))
            && done("a mount", Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder));
        made.then(|| Self(folder.to_owned()))
    }

    /// From now on every write to it fails.
    pub(crate) fn fail(&self) {
        let aborted = Command::new("mount").args(["-o", "remount,abort"]).arg(&self.0).status().unwrap();
        assert!(aborted.success());
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Lets a running process open nothing more, until this is gone.
pub(crate) struct NoDescriptors {
    process: u32,
    before: String,
}

impl NoDescriptors {
    /// None without `prlimit`.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let before = line.split_whitespace().nth(3).unwrap().to_owned();
        let taken = Self { process, before };
        done("a process without descriptors", &mut taken.limit("3")).then_some(taken)
    }

    fn limit(&self, most: &str) -> Command {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &self.process.to_string(), &format!("--nofile={most}:")]);
        command
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        let _ = self.limit(&self.before).status();
    }
}

/// A slow disk and a wrong clock, for servers that are started with [`BadMachine::under`].
pub(crate) struct BadMachine {
    library: PathBuf,
    told: PathBuf,
}

impl BadMachine {
    /// As good as any other, until it is told otherwise. None without a C compiler.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        let (library, told) = (folder.join("bad_machine.so"), folder.join("bad_machine.told"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad_machine.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        fs::write(&told, [0; 16]).unwrap();
        done("a bad machine", &mut compile).then_some(Self { library, told })
    }

    /// A server that runs on it.
    pub(crate) fn under(&self, setup: Setup) -> Setup {
        setup
            .with("LD_PRELOAD", &self.library.display().to_string())
            .with("BAD_MACHINE", &self.told.display().to_string())
    }

    fn tell(&self, place: u64, number: i64) {
        let told = fs::OpenOptions::new().write(true).open(&self.told).unwrap();
        told.write_all_at(&number.to_ne_bytes(), place * 8).unwrap();
    }

    /// Every sync takes so much longer.
    pub(crate) fn syncs_take(&self, longer: Duration) {
        self.tell(0, i64::try_from(longer.as_millis()).unwrap());
    }

    /// The clock is so many seconds ahead.
    pub(crate) fn clock_is_ahead(&self, seconds: i64) {
        self.tell(1, seconds);
    }
}

/// The process can open nothing more: its limit is the lowest number that no file of it has.
pub(crate) fn few_descriptors(pid: u32) {
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let used: Vec<u32> = numbers.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect();
    let free = (0..).find(|number| !used.contains(number)).unwrap();
    limit_descriptors(pid, free);
}

/// It can open files again.
pub(crate) fn many_descriptors(pid: u32) {
    limit_descriptors(pid, 1_024);
}

fn limit_descriptors(pid: u32, most: u32) {
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &pid.to_string(), &format!("--nofile={most}:")]);
    assert!(limit.status().unwrap().success());
}
