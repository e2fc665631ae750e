use std::time::Duration;

use super::*;

fn routes(rules: &[(Option<&str>, Option<&str>, u16)]) -> Routes {
    let default = Rc::new(backend(1));
    let rules = rules
        .iter()
        .map(|(host, path, port)| {
            let route = Route {
                host: host.map(str::to_owned),
                path: path.map(str::to_owned),
                upstream: Upstream::tcp("127.0.0.1", *port),
            };
            (Rule::new(&route), Rc::new(backend(*port)))
        })
        .collect();
    Routes { rules, backends: vec![Rc::clone(&default)], default }
}

fn backend(port: u16) -> Backend {
    let upstream = Upstream::tcp("127.0.0.1", port);
    Backend {
        url: upstream.url.as_str().into(),
        authority: upstream.authority(),
        dialer: Dialer::new(upstream, Duration::from_secs(1)),
        pool: Pool::default(),
        sessions: crate::leg::Sessions::default(),
    }
}

#[test]
fn the_first_rule_that_matches_wins() {
    let routes = routes(&[
        (Some("api.example.com"), Some("/v2"), 2),
        (Some("api.example.com"), None, 3),
        (Some("*.example.com"), None, 4),
        (Some("port.example.org:8443"), None, 5),
        (None, Some("/static/"), 6),
        (Some("[::1]"), None, 7),
    ]);
    for (authority, path, port) in [
        ("api.example.com", "/v2", 2),
        ("api.example.com", "/v2/x", 2),
        ("API.Example.com:8080", "/v2/x", 2),
        ("api.example.com", "/v2x", 3),
        ("api.example.com", "/", 3),
        ("a.b.example.com:80", "/", 4),
        ("example.com", "/", 1),
        (".example.com", "/", 1),
        ("notexample.com", "/", 1),
        ("port.example.org:8443", "/", 5),
        ("port.example.org", "/", 1),
        ("other", "/static/x", 6),
        ("other", "/static", 1),
        ("other", "/STATIC/x", 1),
        ("[::1]:80", "/", 7),
        ("[::1]", "/", 7),
        ("", "*", 1),
    ] {
        let found = routes.choose(authority.as_bytes(), path.as_bytes());
        assert_eq!(&*found.url, format!("http://127.0.0.1:{port}"), "{authority} {path}");
    }
}
