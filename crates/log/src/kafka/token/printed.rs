//! Runs the user's command once and reads the token it prints: a JWT whose `exp`
//! tells its end, or a JSON object `{"access_token", "expires_in"}`. Time and output
//! are bounded; a failure tells what the command wrote to its standard error.

use std::{process::Stdio, time::Duration};

use rdkafka::client::OAuthToken;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use super::now_ms;

/// Most that a command may print; brokers take no larger tokens.
const MAX_OUTPUT: u64 = 64 << 10;
/// What is kept of its standard error.
const MAX_ERRORS: u64 = 2 << 10;

/// A token and its end.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Who it stands for, for librdkafka's log.
    pub(super) principal: String,
    /// Unix time.
    pub(super) expires_ms: u64,
}

impl Token {
    pub(super) fn for_librdkafka(&self) -> OAuthToken {
        OAuthToken {
            token: self.text.clone(),
            principal_name: self.principal.clone(),
            lifetime_ms: i64::try_from(self.expires_ms).unwrap_or(i64::MAX),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

/// The token that `command` prints.
pub(super) async fn run(command: &str, longest: Duration) -> Result<Token, String> {
    let began = now_ms();
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the token command cannot be run: {error}"))?;
    let mut group = Group(child);
    let mut errors = Vec::new();
    let ended = tokio::time::timeout(longest, group.outcome(&mut errors)).await;
    let said = said(&errors);
    let (output, status) = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(format!("the token command: {error}{said}")),
        Err(_) => return Err(format!("the token command took longer than {longest:?}{said}")),
    };
    if !status.success() {
        return Err(format!("the token command failed ({status}){said}"));
    }
    if output.len() as u64 > MAX_OUTPUT {
        return Err(format!("the token command printed more than {MAX_OUTPUT} bytes"));
    }
    let output = String::from_utf8(output)
        .map_err(|_| "the token command printed something else than text".to_owned())?;
    let token = read(&output, began).map_err(|why| format!("the token command: {why}{said}"))?;
    if token.expires_ms <= now_ms() {
        return Err(format!("the token command printed a token that has expired{said}"));
    }
    Ok(token)
}

/// A child and what it started: all end when this is dropped.
struct Group(Child);

impl Group {
    /// What it printed, and how it ended. Its standard error is collected even if
    /// this is given up.
    async fn outcome(
        &mut self,
        errors: &mut Vec<u8>,
    ) -> std::io::Result<(Vec<u8>, std::process::ExitStatus)> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let mut output = Vec::new();
        let printed = collect(stdout, &mut output, MAX_OUTPUT + 1);
        let (printed, told) = tokio::join!(printed, collect(stderr, errors, MAX_ERRORS));
        printed.and(told)?;
        Ok((output, self.0.wait().await?))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its group has its number, for as long as it has not been waited for.
        if let Some(pid) = self.0.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.0.try_wait();
    }
}

/// Reads to the end and keeps the first `most` bytes.
async fn collect(
    source: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
    most: u64,
) -> std::io::Result<()> {
    let Some(mut source) = source else { return Ok(()) };
    (&mut source).take(most).read_to_end(kept).await?;
    tokio::io::copy(&mut source, &mut tokio::io::sink()).await?;
    Ok(())
}

/// The command's standard error as the end of a message.
fn said(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    match text.trim() {
        "" => String::new(),
        text => format!("; it says: {}", text.replace(['\n', '\r', '\0'], " ")),
    }
}

/// Reads what was printed at about `now` (Unix time in ms).
pub(super) fn read(output: &str, now: u64) -> Result<Token, String> {
    let output = output.trim();
    let (text, expires_in) = if output.starts_with('{') {
        let object: serde_json::Value = serde_json::from_str(output)
            .map_err(|error| format!("it printed no JSON object ({:?})", error.classify()))?;
        let token = object["access_token"].as_str().ok_or("its JSON has no `access_token`")?;
        (token.to_owned(), seconds(&object["expires_in"]))
    } else {
        (output.to_owned(), None)
    };
    if text.is_empty() {
        return Err("it printed nothing".into());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it printed more than a token (one word, or a JSON object)".into());
    }
    let claims = claims(&text);
    let claim = |name: &str| claims.as_ref().map(|claims| &claims[name]);
    let expires_ms = match (expires_in, claim("exp").and_then(seconds)) {
        (Some(life), _) => now.saturating_add(millis(life)),
        (None, Some(at)) => millis(at),
        (None, None) => {
            return Err("when its token expires is not known: print a JWT with `exp`, or JSON \
                        with `access_token` and `expires_in`"
                .into());
        }
    };
    let subject = claim("sub").and_then(|subject| subject.as_str()).unwrap_or("umbra");
    Ok(Token { principal: subject.replace('\0', ""), text, expires_ms })
}

/// A number, also as text.
fn seconds(value: &serde_json::Value) -> Option<f64> {
    let number = match value {
        serde_json::Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite() && *number > 0.0)
}

fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

/// The claims of a JWT, unverified: the broker verifies them.
fn claims(token: &str) -> Option<serde_json::Value> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: serde_json::Value = serde_json::from_slice(&decode(claims)?).ok()?;
    claims.is_object().then_some(claims)
}

/// base64url without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
