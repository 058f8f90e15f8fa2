//! The ledger through its public face: order, durability, failure, recovery.

mod broken;
mod damaged;
mod order;
mod stage;
