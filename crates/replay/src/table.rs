//! The tables a request passes through on its way. The standard hash function costs more
//! than the rest of such a look-up; this one begins differently in each process too.

use std::collections::HashMap;

/// A table by small keys.
pub(crate) type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
