//! Which upstream a request goes to: a table by host and path, the first rule that
//! matches wins, and the default for all others. Each upstream has a dialer and a pool
//! of its own on each capture thread.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::{Dialer, Pool};
use crate::{Config, Route, Upstream, leg::Sessions};

/// An upstream as one capture thread uses it.
#[derive(Debug)]
pub(crate) struct Backend {
    /// As the user wrote it, for records.
    pub(crate) url: Arc<str>,
    /// Host for requests that have none.
    pub(crate) authority: Vec<u8>,
    pub(crate) dialer: Dialer,
    pub(crate) pool: Pool,
    /// Those over which HTTP/2 is spoken.
    pub(crate) sessions: Sessions,
}

/// The table of one capture thread.
#[derive(Debug)]
pub(crate) struct Routes {
    rules: Vec<(Rule, Rc<Backend>)>,
    default: Rc<Backend>,
    /// Each once.
    backends: Vec<Rc<Backend>>,
}

/// Which requests a route is for.
#[derive(Debug)]
struct Rule {
    host: Option<Host>,
    path: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Host {
    /// This one, on whatever port; or with this port, if one was said.
    Exactly(Vec<u8>),
    /// All names below `.example.com`.
    Below(Vec<u8>),
}

impl Backend {
    fn new(upstream: &Upstream, config: &Config) -> Self {
        Self {
            url: upstream.url.as_str().into(),
            authority: upstream.authority(),
            dialer: Dialer::new(upstream.clone(), config.connect_timeout),
            pool: Pool::default(),
            sessions: Sessions::default(),
        }
    }
}

impl Routes {
    pub(crate) fn new(config: &Config) -> Self {
        let default = Rc::new(Backend::new(&config.upstream, config));
        let mut routes = Self {
            rules: Vec::with_capacity(config.routes.len()),
            backends: vec![Rc::clone(&default)],
            default,
        };
        for route in &config.routes {
            let backend = routes.backend(&route.upstream, config);
            routes.rules.push((Rule::new(route), backend));
        }
        routes
    }

    /// Several rules may lead to one upstream.
    fn backend(&mut self, upstream: &Upstream, config: &Config) -> Rc<Backend> {
        let known = self.backends.iter().find(|backend| *backend.url == *upstream.url);
        if let Some(known) = known {
            return Rc::clone(known);
        }
        let backend = Rc::new(Backend::new(upstream, config));
        self.backends.push(Rc::clone(&backend));
        backend
    }

    /// Where a request for this authority and path goes.
    pub(crate) fn choose(&self, authority: &[u8], path: &[u8]) -> &Rc<Backend> {
        let found = self.rules.iter().find(|(rule, _)| rule.matches(authority, path));
        found.map_or(&self.default, |(_, backend)| backend)
    }

    /// Where a request goes that no rule matches.
    pub(crate) fn default(&self) -> &Rc<Backend> {
        &self.default
    }

    /// Closes what has been idle for too long.
    pub(crate) fn prune(&self, now: Instant) {
        for backend in &self.backends {
            backend.pool.prune(now);
            backend.sessions.prune(now, false);
        }
    }

    /// Closes an idle connection to any other upstream.
    pub(crate) fn close_elsewhere(&self, backend: &Backend) {
        let mut others = self.backends.iter().filter(|other| !std::ptr::eq(&***other, backend));
        others.find(|other| other.pool.close(1) > 0);
    }

    /// Closes `n` idle connections, if there are so many.
    pub(crate) fn close(&self, mut n: usize) {
        for backend in &self.backends {
            if n == 0 {
                return;
            }
            n -= backend.pool.close(n);
            if n > 0 {
                n = n.saturating_sub(backend.sessions.prune(Instant::now(), true));
            }
        }
    }

    /// Ends what is left, once no request needs it.
    pub(crate) async fn end(&self) {
        for backend in &self.backends {
            backend.sessions.end().await;
        }
    }
}

impl Rule {
    fn new(route: &Route) -> Self {
        let host = route.host.as_ref().map(|host| match host.strip_prefix('*') {
            Some(below) => Host::Below(below.into()),
            None => Host::Exactly(host.as_str().into()),
        });
        let path = route.path.as_ref().map(|path| path.as_str().into());
        Self { host, path }
    }

    fn matches(&self, authority: &[u8], path: &[u8]) -> bool {
        self.host.as_ref().is_none_or(|host| host.matches(authority))
            && self.path.as_ref().is_none_or(|prefix| is_below(path, prefix))
    }
}

impl Host {
    fn matches(&self, authority: &[u8]) -> bool {
        let name = without_port(authority);
        match self {
            Self::Exactly(host) => {
                name.eq_ignore_ascii_case(host) || authority.eq_ignore_ascii_case(host)
            }
            Self::Below(end) => name
                .len()
                .checked_sub(end.len())
                .is_some_and(|at| at > 0 && name[at..].eq_ignore_ascii_case(end)),
        }
    }
}

/// Whether a path begins with the prefix and goes on with another element:
/// `/api` is for `/api` and `/api/x`, not for `/apix`.
fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        None => false,
        Some([] | [b'/', ..]) => true,
        Some(_) => prefix.ends_with(b"/"),
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|&byte| byte == b':') {
        // The colons of an IPv6 address are within brackets.
        Some(at) if !authority[at..].contains(&b']') => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests;
