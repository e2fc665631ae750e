//! Reads `--target [NAME=]URL[,OPTION=VALUE]…`: each option is the flag of that
//! name (without `target-`), for this target alone.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use umbra_record::authority::ShadowHost;
use umbra_replay::{Protocol, Target, Tls, WhenDown};

use crate::settings::{Settings, values};

/// How long a window holds a target that is down before it gives up.
const WINDOW_HOLDS: Duration = Duration::from_secs(300);

/// All targets, or problems.
pub(super) fn all(settings: &mut Settings, live: bool) -> Vec<Target> {
    let base = base(settings, live);
    let certificate = certificate(settings);
    let texts = settings.texts("target").to_vec();
    if texts.is_empty() {
        settings.problem("target", "is required");
    }
    let mut targets: Vec<Target> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match one(&base, &certificate, text, index, live) {
            Ok(target) => targets.push(target),
            Err(problems) => {
                for what in problems {
                    settings.problem("target", format!("`{text}`: {what}"));
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    for target in &targets {
        if !names.insert(target.name.as_str()) {
            settings.problem("target", format!("two targets are called `{}`", target.name));
        }
    }
    targets
}

/// What the flags say for every target.
fn base(settings: &mut Settings, live: bool) -> Target {
    if settings.on("http1") && settings.on("http2") {
        settings.trouble("--http1 and --http2 exclude each other");
    }
    Target {
        name: String::new(),
        url: Uri::default(),
        shadow_host: settings.read("shadow-host", shadow_host).unwrap_or_default(),
        percent: settings.read("target-percent", values::percent).unwrap_or(100.0),
        set_headers: settings.read_all("set-header", header),
        remove_headers: settings.read_all("remove-header", header_name),
        concurrency: settings.read("concurrency", values::count).unwrap_or(256) as usize,
        timeout: settings.read("timeout", values::some_duration).unwrap_or_default(),
        connect_timeout: settings
            .read("target-connect-timeout", values::some_duration)
            .unwrap_or_default(),
        protocol: match (settings.on("http1"), settings.on("http2")) {
            (true, _) => Protocol::Http1,
            (_, true) => Protocol::Http2,
            _ => Protocol::Recorded,
        },
        tls: Tls {
            ca: settings.text("tls-ca").map(PathBuf::from),
            certificate: None,
            server_name: settings.text("tls-server-name").map(str::to_owned),
            insecure: settings.on("tls-insecure"),
        },
        unseal: settings.read("unseal", unseal).unwrap_or(true),
        when_down: settings
            .read("when-down", |text| when_down(text, live))
            .unwrap_or(WhenDown::Hold(None)),
    }
}

/// Our certificate and its key, as far as they were said: each may be a target's own.
#[derive(Debug, Clone, Default)]
struct Certificate {
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The flags of these names are about a mirror's own listener.
fn certificate(settings: &Settings) -> Certificate {
    if settings.command.name != "replay" {
        return Certificate::default();
    }
    let file = |name: &str| settings.text(name).map(PathBuf::from);
    Certificate { chain: file("tls-cert"), key: file("tls-key") }
}

fn one(
    base: &Target,
    certificate: &Certificate,
    text: &str,
    index: usize,
    live: bool,
) -> Result<Target, Vec<String>> {
    let mut target = base.clone();
    let mut certificate = certificate.clone();
    let mut problems = Vec::new();
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    match first.split_once('=') {
        Some((name, url)) if !name.contains([':', '/']) => {
            name.clone_into(&mut target.name);
            target.url = url_of(url, &mut problems);
        }
        _ => {
            target.name =
                if index == 0 { "shadow".into() } else { format!("shadow-{}", index + 1) };
            target.url = url_of(first, &mut problems);
        }
    }
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if target.name.is_empty() || target.name.len() > 64 || !target.name.chars().all(fit) {
        problems.push("a name has up to 64 letters, digits, - and _".into());
    }
    for part in parts {
        if let Err(what) = option(&mut target, &mut certificate, part, live) {
            problems.push(format!("{part}: {what}"));
        }
    }
    match (certificate.chain, certificate.key) {
        (Some(chain), Some(key)) => target.tls.certificate = Some((chain, key)),
        (None, None) => {}
        _ => problems.push("tls-cert and tls-key belong together".into()),
    }
    // Of what only https targets use, nothing is demanded elsewhere.
    if problems.is_empty() && target.url.scheme_str() == Some("https") {
        problems.extend(target.tls.check().err());
    }
    if problems.is_empty() { Ok(target) } else { Err(problems) }
}

fn option(
    target: &mut Target,
    certificate: &mut Certificate,
    part: &str,
    live: bool,
) -> Result<(), String> {
    let (key, value) = part.split_once('=').unwrap_or((part, "true"));
    match key {
        "percent" => target.percent = values::percent(value)?,
        "shadow-host" => target.shadow_host = shadow_host(value)?,
        "set-header" => target.set_headers.push(header(value)?),
        "remove-header" => target.remove_headers.push(header_name(value)?),
        "concurrency" => target.concurrency = values::count(value)? as usize,
        "timeout" => target.timeout = values::some_duration(value)?,
        "connect-timeout" => target.connect_timeout = values::some_duration(value)?,
        "when-down" => target.when_down = when_down(value, live)?,
        "http1" if values::switch(value)? => target.protocol = Protocol::Http1,
        "http2" if values::switch(value)? => target.protocol = Protocol::Http2,
        "http1" | "http2" => {}
        "tls-ca" => target.tls.ca = Some(value.into()),
        "tls-cert" => certificate.chain = Some(value.into()),
        "tls-key" => certificate.key = Some(value.into()),
        "tls-server-name" => target.tls.server_name = Some(value.to_owned()),
        "tls-insecure" => target.tls.insecure = values::switch(value)?,
        "unseal" => target.unseal = unseal(value)?,
        _ => return Err("no such option of a target".into()),
    }
    Ok(())
}

fn url_of(text: &str, problems: &mut Vec<String>) -> Uri {
    let uri: Uri = text.parse().unwrap_or_default();
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
        problems.push("expected http://HOST[:PORT][/PREFIX] or https://…".into());
    } else if uri.query().is_some() {
        problems.push("a query does not belong in a target's URL".into());
    } else if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        problems.push("user and password do not belong in the URL: use --set-header".into());
    }
    uri
}

fn unseal(text: &str) -> Result<bool, String> {
    values::switch(text).map_err(|_| "expected yes or no".to_owned())
}

fn shadow_host(text: &str) -> Result<ShadowHost, String> {
    text.parse()
}

fn when_down(text: &str, live: bool) -> Result<WhenDown, String> {
    match text.split_once(':') {
        None if text == "hold" => Ok(WhenDown::Hold((!live).then_some(WINDOW_HOLDS))),
        None if text == "skip" => Ok(WhenDown::Skip),
        Some(("hold", time)) => Ok(WhenDown::Hold(Some(values::some_duration(time)?))),
        _ => Err("expected hold, hold:TIME or skip".into()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) =
        text.split_once(':').or_else(|| text.split_once('=')).ok_or("expected NAME: VALUE")?;
    let value =
        HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| "not a header value")?;
    Ok((header_name(name.trim())?, value))
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| "not a header name".to_owned())
}
