//! `umbra explain`: which rule decides about a request, and which rules of comparing
//! apply to it.

use serde_json::json;
use umbra_record::{
    pb,
    select::{Decision, RequestView},
};

use crate::{
    config::{self, Output},
    exit::Outcome,
    output,
    settings::Settings,
};

/// Runs it.
pub(crate) fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let request = settings.require("REQUEST", parse);
    let stage = settings.read("stage", |text| match text {
        "capture" => Ok("capture"),
        "replay" => Ok("replay"),
        _ => Err("expected capture or replay".into()),
    });
    let selection = config::selection(&mut settings, stage.unwrap_or("replay"));
    let compare = config::judge(&mut settings, true);
    let (request, compare) = config::all_there(&settings, request.zip(compare))?;
    let (selected, why) = match selection.decide(&RequestView::from(&request)) {
        Decision::Selected => (true, "no rule leaves it out".to_owned()),
        Decision::Skipped { rule } => (false, format!("left out by {rule}")),
        Decision::NoMatch { rule, of: 1 } => (false, format!("does not match {rule}")),
        Decision::NoMatch { rule, of } => (false, format!("matches none of {of} like {rule}")),
        Decision::NotSampled { rule } => (false, format!("not in the sample {rule}")),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (method, path) = (text(&request.method), text(&request.path));
    let endpoint = format!("{method} {}", umbra_compare::lexical_template(&path));
    let applying = compare.rules.for_request(&method, &path);
    let rules = applying.lines();
    match form {
        Output::Json => output::json(&json!({
            "selected": selected, "why": why, "endpoint": endpoint, "rules": rules,
        }))?,
        Output::Text => {
            let what = if selected { "selected" } else { "not selected" };
            output::text(&format!("{what}: {why}\ncompared as {endpoint}\n"))?;
            for rule in rules {
                output::text(&format!("  rule {rule}\n"))?;
            }
        }
    }
    Ok(0)
}

/// Reads `METHOD PATH NAME: VALUE …`.
fn parse(text: &str) -> Result<pb::Request, String> {
    let mut words = text.split_whitespace();
    let usage = || "expected METHOD PATH, such as 'GET /users/7 Host: shop'".to_owned();
    let method = words.next().ok_or_else(usage)?;
    let target = words.next().filter(|target| target.starts_with('/')).ok_or_else(usage)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned().into_bytes().into())),
        None => (target, None),
    };
    let mut headers: Vec<pb::Header> = Vec::new();
    for word in words {
        if let Some(name) = word.strip_suffix(':') {
            let name = name.to_owned().into_bytes().into();
            headers.push(pb::Header { name, value: Vec::new().into() });
        } else {
            let last = headers.last_mut().ok_or_else(usage)?;
            let mut value = last.value.to_vec();
            if !value.is_empty() {
                value.push(b' ');
            }
            value.extend_from_slice(word.as_bytes());
            last.value = value.into();
        }
    }
    let host = headers.iter().find(|field| field.name.eq_ignore_ascii_case(b"host"));
    let length = headers.iter().find(|field| field.name.eq_ignore_ascii_case(b"content-length"));
    let length = length.and_then(|field| std::str::from_utf8(&field.value).ok()?.parse().ok());
    Ok(pb::Request {
        method: method.to_owned().into_bytes().into(),
        path: path.to_owned().into_bytes().into(),
        authority: host.map(|field| field.value.clone()).unwrap_or_default(),
        body_length: length.unwrap_or(0),
        query,
        headers,
        ..pb::Request::default()
    })
}
