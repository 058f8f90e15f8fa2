//! The laws of the folds, and what they mean by example.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod capacity;
#[cfg(test)]
mod given;
#[cfg(test)]
mod history;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod siblings;
#[cfg(test)]
mod statistics;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod updates;
