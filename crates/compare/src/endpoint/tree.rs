//! What is counted per endpoint, in a tree of path segments that folds a level into
//! a placeholder when it has too many. Whether a level is folded depends on the set
//! of segments seen there, not on their order, so trees can be merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// More literal segments at one place than this are taken for values.
const MAX_LITERALS: usize = 200;
/// Most endpoints; requests to further ones are counted together.
const MAX_ENDPOINTS: usize = 2_000;

/// Name of what is counted together beyond [`MAX_ENDPOINTS`].
const OTHERS: &str = "(other endpoints)";

/// What can be counted.
pub(crate) trait Count: Default {
    fn merge(&mut self, other: Self);

    /// How much it is missed.
    fn weight(&self) -> u64;
}

/// A tally per endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tree<T> {
    /// Endpoints the user named.
    named: Vec<Named>,
    root: Level<T>,
    /// At least the number of endpoints: folding makes it too high until counted again.
    count: usize,
    others: Option<Box<T>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Named {
    /// `*`: any.
    method: String,
    segments: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Level<T> {
    /// By method, for paths that end here.
    here: BTreeMap<String, T>,
    children: BTreeMap<String, Level<T>>,
    /// Set once this level is folded: all segments but the placeholders.
    any: Option<Box<Level<T>>>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { here: BTreeMap::new(), children: BTreeMap::new(), any: None }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { named: Vec::new(), root: Level::default(), count: 0, others: None }
    }
}

impl<T: Count> Tree<T> {
    /// Names endpoints; to be done before anything is counted.
    pub(crate) fn name<S: AsRef<str>>(&mut self, named: &[S]) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        for text in named.iter().map(AsRef::as_ref) {
            match text.split_once(' ').map(|(method, path)| (method, path.trim())) {
                Some((method, path)) if path.starts_with('/') && !path.contains(' ') => {
                    let segments = path[1..].split('/').map(str::to_owned).collect();
                    self.named.push(Named { method: method.to_owned(), segments });
                }
                _ => problems.push(format!("endpoint '{text}' is not METHOD /PATH/{{NAME}}")),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The template of a request's path, as far as it is known without counting.
    pub(crate) fn template(&self, method: &str, path: &str) -> Vec<String> {
        let named = self.named.iter().find(|named| named.matches(method, path));
        named.map_or_else(|| super::segments(path), |named| named.segments.clone())
    }

    /// The tally of a template, and whether it is the one that is shared beyond the
    /// bound.
    pub(crate) fn of(&mut self, method: &str, template: &[String]) -> (&mut T, bool) {
        if !self.root.find(method, template) {
            if self.count >= MAX_ENDPOINTS {
                self.count = self.root.endpoints();
            }
            if self.count >= MAX_ENDPOINTS {
                return (self.others.get_or_insert_default(), true);
            }
            self.count += 1;
        }
        (self.root.of(method, template), false)
    }

    /// The tally of a template if there is one, or the shared one.
    pub(crate) fn get_mut(&mut self, method: &str, path: &str, beyond: bool) -> Option<&mut T> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        if beyond || !self.root.find(method, &segments) {
            return self.others.as_deref_mut();
        }
        Some(self.root.of(method, &segments))
    }

    /// All tallies.
    pub(crate) fn each(&mut self, mut act: impl FnMut(&mut T)) {
        self.root.each(&mut act);
        if let Some(others) = self.others.as_deref_mut() {
            act(others);
        }
    }

    /// Forgets endpoints that hold nothing any more.
    pub(crate) fn sweep(&mut self) {
        self.root.fold_light(1, &mut T::default());
    }

    /// All endpoints by name, such as `GET /users/{id}`.
    pub(crate) fn endpoints(&self) -> Vec<(String, &T)> {
        let mut out = Vec::new();
        self.root.list(&mut String::new(), &mut out);
        out.sort_by(|one, other| one.0.cmp(&other.0));
        out.extend(self.others.as_deref().map(|others| (OTHERS.to_owned(), others)));
        out
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.root.merge(other.root);
        if let Some(others) = other.others {
            self.others.get_or_insert_default().merge(*others);
        }
        self.count = self.root.endpoints();
        if self.count > MAX_ENDPOINTS {
            self.shrink();
        }
    }

    /// Counts together those endpoints that are missed least, so that the bound holds.
    fn shrink(&mut self) {
        let mut weights: Vec<u64> = Vec::with_capacity(self.count);
        self.root.each(&mut |tally| weights.push(tally.weight()));
        weights.sort_unstable_by(|one, other| other.cmp(one));
        // Of equal ones all are folded: none is to be preferred.
        let least = weights[MAX_ENDPOINTS] + 1;
        let others = self.others.get_or_insert_default();
        self.root.fold_light(least, others);
        self.count = self.root.endpoints();
    }
}

impl Named {
    fn matches(&self, method: &str, path: &str) -> bool {
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        (self.method == "*" || self.method == method)
            && self.segments.iter().all(|wanted| {
                let segment = segments.next();
                segment.is_some_and(|segment| fits(wanted, segment))
            })
            && segments.next().is_none()
    }
}

impl<T: Count> Level<T> {
    fn find(&self, method: &str, segments: &[String]) -> bool {
        match segments.split_first() {
            None => self.here.contains_key(method),
            Some((first, rest)) => match (self.children.get(first), &self.any) {
                (Some(child), _) => child.find(method, rest),
                (None, Some(any)) if !is_placeholder(first) => any.find(method, rest),
                _ => false,
            },
        }
    }

    fn each(&mut self, act: &mut impl FnMut(&mut T)) {
        self.here.values_mut().for_each(&mut *act);
        for below in self.children.values_mut().chain(self.any.as_deref_mut()) {
            below.each(act);
        }
    }

    /// Moves tallies that weigh less out, and drops places that are empty then.
    fn fold_light(&mut self, least: u64, out: &mut T) {
        self.here.retain(|_, tally| {
            let kept = tally.weight() >= least;
            if !kept {
                out.merge(std::mem::take(tally));
            }
            kept
        });
        self.children.retain(|_, below| {
            below.fold_light(least, out);
            below.endpoints() > 0
        });
        if let Some(any) = &mut self.any {
            any.fold_light(least, out);
        }
    }

    fn endpoints(&self) -> usize {
        let below = self.children.values().chain(self.any.as_deref());
        self.here.len() + below.map(Self::endpoints).sum::<usize>()
    }

    fn of(&mut self, method: &str, segments: &[String]) -> &mut T {
        let Some((first, rest)) = segments.split_first() else {
            return self.here.entry(method.to_owned()).or_default();
        };
        self.child(first).of(method, rest)
    }

    fn child(&mut self, segment: &str) -> &mut Self {
        if is_placeholder(segment) {
            return self.children.entry(segment.to_owned()).or_default();
        }
        if self.any.is_none() && !self.children.contains_key(segment) {
            let literals = self.children.keys().filter(|name| !is_placeholder(name)).count();
            if literals == MAX_LITERALS {
                self.fold();
            }
        }
        match &mut self.any {
            Some(any) => any,
            None => self.children.entry(segment.to_owned()).or_default(),
        }
    }

    fn fold(&mut self) {
        let mut any = Self::default();
        let (kept, folded) = std::mem::take(&mut self.children)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, _)| is_placeholder(name));
        self.children = kept;
        folded.into_values().for_each(|level| any.merge(level));
        self.any = Some(Box::new(any));
    }

    fn merge(&mut self, other: Self) {
        for (method, tally) in other.here {
            self.here.entry(method).or_default().merge(tally);
        }
        if other.any.is_some() && self.any.is_none() {
            self.fold();
        }
        if let (Some(any), Some(others)) = (&mut self.any, other.any) {
            any.merge(*others);
        }
        for (segment, level) in other.children {
            self.child(&segment).merge(level);
        }
    }

    fn list<'a>(&'a self, path: &mut String, out: &mut Vec<(String, &'a T)>) {
        let shown = if path.is_empty() { "/" } else { path.as_str() };
        out.extend(self.here.iter().map(|(method, tally)| (format!("{method} {shown}"), tally)));
        let any = self.any.iter().map(|any| ("{any}", &**any));
        let children = self.children.iter().map(|(name, level)| (name.as_str(), level));
        for (segment, level) in children.chain(any) {
            let length = path.len();
            path.push('/');
            path.push_str(segment);
            level.list(path, out);
            path.truncate(length);
        }
    }
}

fn is_placeholder(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

/// Whether a segment is one of those that a named one stands for: `{name}`, or with
/// something around, as `{name}.json`.
fn fits(wanted: &str, segment: &str) -> bool {
    match (wanted.find('{'), wanted.rfind('}')) {
        (Some(start), Some(end)) if start < end => {
            segment.len() >= wanted.len() - (end + 1 - start)
                && segment.starts_with(&wanted[..start])
                && segment.ends_with(&wanted[end + 1..])
        }
        _ => segment == wanted,
    }
}
