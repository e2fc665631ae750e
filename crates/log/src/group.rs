//! What is known of a group of readers from outside: how far it is, and who reads.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::progress::Checkpoint;

/// A group of readers, as it is now. A group that never was has no progress and no
/// members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Progress by partition; a partition nobody has committed is not in it.
    pub partitions: BTreeMap<u32, GroupProgress>,
    /// Who reads now.
    pub members: Vec<Member>,
}

/// How far a group is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupProgress {
    /// Every offset below is settled.
    pub committed: u64,
    /// So many offsets beyond are settled too.
    pub settled_beyond: u64,
    /// What its reader noted; see [`crate::Tail::note`].
    pub note: Bytes,
}

/// One reader of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As the log knows it. Of an embedded log: its process.
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// What it calls itself.
    pub client: String,
    /// Where it runs.
    pub host: String,
    /// What it holds; while a group is being rebalanced this may be nothing.
    pub partitions: Vec<u32>,
}

impl From<Checkpoint> for GroupProgress {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            committed: checkpoint.committed,
            settled_beyond: checkpoint.runs.iter().map(|(start, end)| end - start).sum(),
            note: checkpoint.note,
        }
    }
}
