//! A mirror sink: the agent as the target of a mesh's own mirroring. What each mesh
//! changes on the way to a mirror is undone here, in what is recorded only; reading
//! the requests and answering them is the business of the connections.

mod http2;
mod profile;
mod rewrite;

pub(crate) use http2::{absorb, check};
pub use profile::{Profile, Sink, Suffix};
pub(crate) use profile::{Restored, View};
pub(crate) use rewrite::rewrite;
