//! Why a broker does not let us in, read from what librdkafka tells of a connection:
//! its codes are coarse, and some reasons only stand in its log lines. Knows no
//! client; decides when waiting longer is of no use.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

/// How long other brokers may take to answer after one has refused us …
const SECOND_CHANCE: Duration = Duration::from_millis(400);
/// … and after one has hung up, which it also does when it ends.
const LONGER_CHANCE: Duration = Duration::from_millis(1500);

/// A broker that wants SASL hangs up as soon as it is asked anything else.
const BRIEFLY: Duration = Duration::from_secs(1);
/// What was not met again for so long is over.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Who has to change what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its certificate is not trusted.
    Trust,
    /// It wants a certificate of ours, or another one.
    OwnCertificate,
    /// It speaks no TLS.
    NoTls,
    /// It speaks TLS, or wants SASL.
    Protocol,
    /// It does not know our name or password.
    Identity,
    /// It does not know the SASL mechanism.
    Mechanism,
    /// Anything else about TLS.
    Tls,
}

impl Refusal {
    /// What this error or log line tells; `None`: nothing that lasts.
    pub(super) fn of(code: Option<Code>, text: &str) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let closed = has(&["Disconnected", "Connection reset", "Broken pipe"]);
        Some(if has(&["certificate verify failed"]) {
            Self::Trust
        } else if has(&[
            "alert bad certificate",
            "certificate required",
            "alert unknown ca",
            "alert certificate",
            "client SSL authentication",
        ]) {
            Self::OwnCertificate
        } else if has(&["wrong version number", "PLAINTEXT broker listener"]) {
            Self::NoTls
        } else if has(&["security.protocol"])
            || (closed && has(&["state APIVERSION_QUERY"]) && !has(&["ssl://", "sasl_ssl://"]))
            || (closed && up_for(text).is_some_and(|time| time < BRIEFLY))
        {
            Self::Protocol
        } else if has(&["Unsupported SASL mechanism"])
            || code == Some(Code::UnsupportedSASLMechanism)
        {
            Self::Mechanism
        } else if matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed)) {
            Self::Identity
        } else if code == Some(Code::SSL) {
            Self::Tls
        } else {
            return None;
        })
    }

    /// What the user can do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Trust => {
                "the broker's certificate is for another name, or signed by a CA that is not \
                 trusted: --kafka ssl.ca.location=FILE names the CA"
            }
            Self::OwnCertificate => {
                "the broker wants a certificate of ours that it trusts: --kafka \
                 ssl.certificate.location=FILE and ssl.key.location=FILE"
            }
            Self::NoTls => {
                "no TLS is spoken there: --kafka security.protocol=PLAINTEXT or SASL_PLAINTEXT, or \
                 the port of another listener"
            }
            Self::Protocol => {
                "the listener speaks TLS or wants SASL: --kafka security.protocol=SSL, SASL_SSL or \
                 SASL_PLAINTEXT, as it is configured"
            }
            Self::Identity => {
                "the broker does not accept who we say we are: look at sasl.mechanism, \
                 sasl.username and sasl.password, or --kafka-token-command"
            }
            Self::Mechanism => "choose one of the listener's mechanisms: --kafka sasl.mechanism=…",
            Self::Tls => "look at security.protocol and the ssl.… properties of --kafka",
        }
    }

    /// The code of librdkafka that sorts it.
    pub(super) fn code(self) -> Code {
        match self {
            Self::Identity => Code::Authentication,
            Self::Mechanism => Code::UnsupportedSASLMechanism,
            Self::Trust | Self::OwnCertificate | Self::NoTls | Self::Protocol | Self::Tls => {
                Code::SSL
            }
        }
    }

    /// Whether the broker said so, rather than hung up.
    fn is_said(self) -> bool {
        !matches!(self, Self::NoTls | Self::Protocol)
    }
}

/// How long the connection that ended had been up.
fn up_for(text: &str) -> Option<Duration> {
    let (before, _) = text.split_once("ms in state UP")?;
    let (_, millis) = before.rsplit_once("(after ")?;
    Some(Duration::from_millis(millis.parse().ok()?))
}

/// A refusal that was met, and since when.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: Refusal,
    /// In librdkafka's words.
    pub(super) words: String,
    since: Instant,
    latest: Instant,
    times: u32,
}

impl Refused {
    /// Notes one more; what the broker said counts more than that it hung up.
    pub(super) fn note(before: &mut Option<Self>, why: Refusal, words: &str) {
        match before {
            Some(met) if met.why == why && met.latest.elapsed() < FORGOTTEN => {
                met.times += 1;
                met.latest = Instant::now();
            }
            Some(met)
                if met.why.is_said() && !why.is_said() && met.latest.elapsed() < FORGOTTEN => {}
            _ => {
                let (words, now) = (words.to_owned(), Instant::now());
                *before = Some(Self { why, words, since: now, latest: now, times: 1 });
            }
        }
    }

    /// Whether waiting longer is of no use.
    pub(super) fn lasts(&self) -> bool {
        let age = self.since.elapsed();
        if self.latest.elapsed() >= FORGOTTEN {
            return false;
        }
        if self.why.is_said() {
            age >= SECOND_CHANCE
        } else {
            age >= LONGER_CHANCE && self.times >= 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_tells_is_understood() {
        let transport = Some(Code::BrokerTransportFailure);
        for (code, text, why) in [
            (
                Some(Code::SSL),
                "error:0A000086:SSL routines::certificate verify failed",
                Some(Refusal::Trust),
            ),
            (
                transport,
                "Receive failed: error:0A000412: sslv3 alert bad certificate: SSL alert number 42",
                Some(Refusal::OwnCertificate),
            ),
            (
                None,
                "ssl://b:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                Some(Refusal::NoTls),
            ),
            (
                None,
                "b:1/bootstrap: Disconnected: connection closed by peer (after 9ms in state APIVERSION_QUERY)",
                Some(Refusal::Protocol),
            ),
            (
                None,
                "ssl://b:1/1: Disconnected: connection closed by peer (after 9ms in state APIVERSION_QUERY)",
                None,
            ),
            (
                Some(Code::Authentication),
                "SASL PLAIN mechanism handshake failed: Unsupported SASL mechanism",
                Some(Refusal::Mechanism),
            ),
            (Some(Code::Authentication), "SASL authentication error: no", Some(Refusal::Identity)),
            (
                transport,
                "Send failed: SSL transport error: Broken pipe (after 1ms in state UP)",
                Some(Refusal::Protocol),
            ),
            (transport, "Disconnected: closed by peer (after 90000ms in state UP)", None),
            (transport, "Connect to ipv4#127.0.0.1:9 failed: Connection refused", None),
        ] {
            assert_eq!(Refusal::of(code, text), why, "{text}");
        }
    }

    #[test]
    fn who_hung_up_once_may_only_have_ended() {
        let mut met = None;
        Refused::note(&mut met, Refusal::Protocol, "closed");
        let past = Instant::now() - Duration::from_secs(5);
        let refused = |met: &Option<Refused>| met.as_ref().is_some_and(Refused::lasts);
        met.iter_mut().for_each(|met| met.since = past);
        assert!(!refused(&met));
        Refused::note(&mut met, Refusal::Protocol, "closed");
        assert!(refused(&met));
        Refused::note(&mut met, Refusal::Trust, "said");
        assert!(!refused(&met), "others may answer");
        Refused::note(&mut met, Refusal::Protocol, "closed");
        assert_eq!(met.map(|met| met.words).as_deref(), Some("said"));
    }
}
