//! Every promise of a log, stated once and checked on both implementations.
