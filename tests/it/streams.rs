//! Answers on their way: byte for byte, as they come, and what becomes of those that break.

mod broken;
mod leaving;
mod passing;
mod retries;
