//! The ledger through its public face: order, durability, failure, recovery.

mod audit;
mod broken;
mod checkpoints;
mod damaged;
mod order;
mod retention;
mod stage;
