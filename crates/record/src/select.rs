//! Which requests are meant: by method, host, path and header, and a stable
//! sample of them.

/// Rules that say whether a request is selected. The default selects all.
#[derive(Debug, Clone, Default)]
pub struct Selection {}
