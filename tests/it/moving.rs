//! Backup and restore, export and import, and a new master key.

mod backup;
