//! The settings in force.
//!
//! Owns which configuration counts right now. Whoever needs a setting that may change while the pool runs asks
//! here each time, and keeps no copy; what cannot change is read once, at the start.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::Config;

/// See the module.
#[derive(Debug)]
pub struct Settings {
    now: RwLock<Arc<Config>>,
}

impl Settings {
    /// As the process was told.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { now: RwLock::new(Arc::new(config)) }
    }

    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.now.read())
    }
}
