//! What a shadow gets.
