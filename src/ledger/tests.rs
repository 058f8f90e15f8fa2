//! The ledger through its public face: order, durability, failure, recovery.

mod audit;
mod broken;
mod checkpoints;
mod damaged;
mod healing;
mod order;
mod retention;
mod stage;
