//! How each keyspace is kept, so that ten million records need little memory.
//!
//! The record is read in runs, never by a key that may be absent, so it has no
//! bloom filters. Indexes are read in parts and through the cache instead of
//! lying in memory whole. Blocks are compressed as soon as they are written.

use fjall::{
    CompressionType, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy, PartitioningPolicy, PinningPolicy},
};

/// Cache for blocks; the log is mostly written, so little is enough.
pub(super) const CACHE_BYTES: u64 = 16 << 20;
/// A full memtable is written out and its part of the write-ahead log freed.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Secrets and derived rows are few or small.
const SMALL_MEMTABLE_BYTES: u64 = 4 << 20;
/// The write-ahead log that makes the oldest memtables be written out, however small.
pub(super) const WRITE_AHEAD_BYTES: u64 = 96 << 20;

/// Records.
pub(super) fn log() -> KeyspaceCreateOptions {
    lean()
        .max_memtable_size(MEMTABLE_BYTES)
        .filter_policy(FilterPolicy::disabled())
        .data_block_size_policy(BlockSizePolicy::all(16 << 10))
}

/// Sealed secrets.
pub(super) fn vault() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(SMALL_MEMTABLE_BYTES)
}

/// Derived rows.
pub(super) fn derived() -> KeyspaceCreateOptions {
    lean().max_memtable_size(SMALL_MEMTABLE_BYTES).expect_point_read_hits(true)
}

fn lean() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(false))
}
