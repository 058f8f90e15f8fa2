//! Backup and restore, export and import, and a new master key.

mod backup;
mod keys;
mod master_key;
mod salvage;
