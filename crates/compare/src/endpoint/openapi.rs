//! Endpoints from an OpenAPI description (2.0 and 3.x), in JSON or YAML: paths, methods
//! and where the server puts them. Nothing else of it is looked at, references included.

#[cfg(test)]
mod tests;

use saphyr_parser::{Event, Parser};

/// Largest description.
const MAX_BYTES: usize = 32 << 20;
/// Most endpoints; a comparison keeps no more apart.
const MAX_ENDPOINTS: usize = 2_000;
/// Of the levels below this nothing is kept: `servers`, one of them, its `url`.
const DEPTH: usize = 3;

const METHODS: &[&str] =
    &["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// The endpoints, as [`crate::Verdict::with_endpoints`] wants them, the most particular
/// first; or what is wrong with the description.
pub fn openapi(description: &[u8]) -> Result<Vec<String>, String> {
    if description.len() > MAX_BYTES {
        return Err(format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let text = std::str::from_utf8(description).map_err(|_| "not UTF-8".to_owned())?;
    let root = outline(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    if root.get("openapi").or(root.get("swagger")).is_none() {
        return Err("not an OpenAPI description: neither 'openapi' nor 'swagger' in it".to_owned());
    }
    let Some(Outline::Map(paths)) = root.get("paths") else {
        return Err("has no paths".to_owned());
    };
    let prefixes = prefixes(&root);
    let mut endpoints = Vec::new();
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with('/')) {
        for prefix in &prefixes {
            let path = format!("{prefix}{path}").replace(char::is_whitespace, "%20");
            endpoints.extend(methods(item).into_iter().map(|method| format!("{method} {path}")));
        }
    }
    if endpoints.len() > MAX_ENDPOINTS {
        return Err(format!("{} endpoints, above {MAX_ENDPOINTS}", endpoints.len()));
    }
    // `/users/me` is found before `/users/{id}`, as the standard says.
    endpoints.sort_by_key(|endpoint| endpoint.matches('{').count());
    Ok(endpoints)
}

/// `*` where the methods stand elsewhere.
fn methods(item: &Outline) -> Vec<String> {
    let Outline::Map(members) = item else { return vec!["*".to_owned()] };
    let is_method = |name: &&String| METHODS.contains(&name.as_str());
    let methods: Vec<String> = members
        .iter()
        .map(|(name, _)| name)
        .filter(is_method)
        .map(|name| name.to_ascii_uppercase())
        .collect();
    if item.get("$ref").is_some() { vec!["*".to_owned()] } else { methods }
}

/// What the servers' URLs put before every path, each once.
fn prefixes(root: &Outline) -> Vec<String> {
    let path = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = match url.starts_with('/') {
            true => url,
            false => rest.find('/').map_or("", |slash| &rest[slash..]),
        };
        path.trim_end_matches('/').to_owned()
    };
    let urls = match root.get("servers") {
        Some(Outline::List(servers)) => servers.iter().filter_map(|server| server.text("url")),
        _ => return vec![root.text("basePath").map(path).unwrap_or_default()],
    };
    let mut prefixes: Vec<String> = urls.map(path).take(10).collect();
    prefixes.sort();
    prefixes.dedup();
    if prefixes.is_empty() { vec![String::new()] } else { prefixes }
}

/// The upper levels of a document.
enum Outline {
    Text(String),
    List(Vec<Outline>),
    Map(Vec<(String, Outline)>),
    /// What is deeper, or stands elsewhere.
    More,
}

impl Outline {
    fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }
}

fn outline(text: &str) -> Result<Outline, String> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Begun> = Vec::new();
    // Levels that are begun and not kept.
    let mut below = 0usize;
    loop {
        let event = match parser.next_event() {
            None => return Err("empty".to_owned()),
            Some(Err(error)) => return Err(format!("neither JSON nor YAML: {error}")),
            Some(Ok((event, _))) => event,
        };
        let done = match event {
            Event::MappingStart(..) | Event::SequenceStart(..) if open.len() > DEPTH => {
                below += 1;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd if below > 0 => {
                below -= 1;
                match below {
                    0 => Outline::More,
                    _ => continue,
                }
            }
            Event::MappingStart(..) => {
                open.push(Begun::Map(Vec::new(), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Begun::List(Vec::new()));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => match open.pop() {
                Some(begun) => begun.finish(),
                None => Outline::More,
            },
            Event::Scalar(..) | Event::Alias(_) if below > 0 => continue,
            Event::Scalar(text, ..) => Outline::Text(text.into_owned()),
            Event::Alias(_) => Outline::More,
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(done),
            Some(begun) => begun.add(done),
        }
    }
}

/// A list or map whose end has not come yet.
enum Begun {
    List(Vec<Outline>),
    /// With the key whose value has not come yet.
    Map(Vec<(String, Outline)>, Option<String>),
}

impl Begun {
    fn add(&mut self, value: Outline) {
        match self {
            Self::List(items) => items.push(value),
            Self::Map(members, key) => match (key.take(), value) {
                (Some(key), value) => members.push((key, value)),
                (None, Outline::Text(text)) => *key = Some(text),
                (None, _) => *key = Some(String::new()),
            },
        }
    }

    fn finish(self) -> Outline {
        match self {
            Self::List(items) => Outline::List(items),
            Self::Map(members, _) => Outline::Map(members),
        }
    }
}
