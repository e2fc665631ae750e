//! What is kept of a message for the log while it passes: on the capture thread,
//! under the byte budget, never waiting. Decides what is kept and when it is
//! given to [`crate::tap`]; how it gets into the log is decided there.

mod answer;
mod body;
mod request;

pub(crate) use answer::AnswerTee;
pub(crate) use body::{Body, SHARED_FRAME};
pub(crate) use request::RequestTee;
