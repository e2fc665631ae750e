//! Notices a shadow that does not know the host it is asked for: nothing but 404 or
//! 421 (RFC 9110 sections 15.5.5 and 15.5.20) from the first answers on.

use umbra_record::{authority::ShadowHost, pb};

use crate::{
    config::Target,
    outcome::{Class, Outcome},
};

/// So many answers are looked at.
const FIRST: u32 = 3;

/// What the first answers were.
#[derive(Debug, Default)]
pub(super) struct Hint {
    seen: u32,
    known: bool,
}

impl Hint {
    /// Looks at an outcome; warns once if the host seems to be the reason.
    pub(super) fn look(&mut self, target: &Target, request: &pb::Request, outcome: &Outcome) {
        if self.seen >= FIRST || self.known || outcome.class != Class::Answered {
            return;
        }
        self.seen += 1;
        self.known = outcome.answer.as_ref().is_some_and(|a| !matches!(a.status, 404 | 421));
        if self.seen < FIRST || self.known || target.shadow_host == ShadowHost::Keep {
            return;
        }
        let own = target.url.authority().map_or("", |authority| authority.as_str());
        let host = target.shadow_host.apply(&request.authority, own);
        tracing::warn!(
            target_name = target.name,
            host = %String::from_utf8_lossy(&host),
            "the shadow has answered nothing but 404 or 421; perhaps it does not know the Host that was sent: --shadow-host keep sends the recorded one"
        );
    }
}
