//! A stable sample: the same request, or the same client, is in it or not at every
//! replica and in every run, because a hash decides and no chance.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::RequestView;
use crate::{authority, fields, token::is_token};

/// Steps of a sample: 0.0001 %.
const WHOLE: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Sample {
    typed: String,
    /// Of [`WHOLE`].
    share: u64,
    by: By,
    salt: u64,
}

/// What is hashed. A request without the header, cookie or client is sampled by
/// its id instead, so that the share still holds.
#[derive(Debug)]
enum By {
    Id,
    Header(String),
    Cookie(String),
    Client,
}

impl Sample {
    /// `None`: everything is in the sample.
    pub(super) fn parse(
        percent: Option<&str>,
        by: Option<&str>,
        stage: &str,
    ) -> Result<Option<Self>, Vec<String>> {
        let mut problems = Vec::new();
        let share = percent.map(parse_percent).transpose();
        let parsed = By::parse(by.unwrap_or("id"));
        if let Err(problem) = &share {
            problems.push(problem.clone());
        }
        if let Err(problem) = &parsed {
            problems.push(problem.clone());
        }
        if percent.is_none() && by.is_some() && problems.is_empty() {
            problems.push("--percent-by without --percent".to_owned());
        }
        match (share, parsed) {
            (Ok(share), Ok(parsed)) if problems.is_empty() => {
                Ok(share.filter(|share| *share < WHOLE).map(|share| Self {
                    typed: format!(
                        "--percent {} by {}",
                        percent.unwrap_or_default(),
                        by.unwrap_or("id")
                    ),
                    share,
                    by: parsed,
                    salt: xxh3_64(stage.as_bytes()),
                }))
            }
            _ => Err(problems),
        }
    }

    pub(super) fn typed(&self) -> &str {
        &self.typed
    }

    pub(super) fn contains(&self, view: &RequestView<'_>) -> bool {
        let key = self.by.key(view).unwrap_or(view.id);
        xxh3_64_with_seed(key, self.salt) % WHOLE < self.share
    }
}

impl By {
    fn parse(typed: &str) -> Result<Self, String> {
        match typed.split_once(':') {
            None if typed == "id" => Ok(Self::Id),
            None if typed == "client" => Ok(Self::Client),
            Some(("header", name)) if is_token(name.as_bytes()) => {
                Ok(Self::Header(name.to_owned()))
            }
            Some(("cookie", name)) if is_token(name.as_bytes()) => {
                Ok(Self::Cookie(name.to_owned()))
            }
            _ => Err(format!(
                "--percent-by '{typed}': not one of id, header:NAME, cookie:NAME, client"
            )),
        }
    }

    fn key<'a>(&'a self, view: &RequestView<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Id => None,
            Self::Header(name) => fields::first(view.headers, name),
            Self::Cookie(name) => fields::cookie(view.headers, name),
            Self::Client => {
                let address = authority::split_port(view.peer.as_bytes()).0;
                (!address.is_empty()).then_some(address)
            }
        }
    }
}

/// Parts of a million from decimal text, exactly: a sample must not depend on how a
/// floating point number is rounded.
fn parse_percent(typed: &str) -> Result<u64, String> {
    let problem = || format!("--percent '{typed}': not a number from 0 to 100 in steps of 0.0001");
    let text = typed.trim().strip_suffix('%').unwrap_or(typed.trim()).trim_end();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(problem());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 4 || whole.len() > 9 {
        return Err(problem());
    }
    let whole: u64 = format!("0{whole}").parse().map_err(|_| problem())?;
    let fraction: u64 = format!("{fraction:0<4}").parse().map_err(|_| problem())?;
    let share = whole * 10_000 + fraction;
    if share <= WHOLE { Ok(share) } else { Err(problem()) }
}
