//! What people and networks get wrong: settings, disks, credentials, requests. Each is a clear answer, and the
//! server goes on.

mod bodies;
mod credentials;
mod descriptors;
mod full_disk;
mod requests;
mod shares;
mod slow_disk;
mod start;
