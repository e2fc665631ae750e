//! Answers in every split.
