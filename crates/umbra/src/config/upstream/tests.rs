use super::*;

fn reader(http: UpstreamHttp) -> Reader {
    let pem = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
    Reader { http, trust: Some(Trust::in_authorities(pem.as_bytes()).unwrap()), authorities: None }
}

#[test]
fn urls_say_how_an_upstream_is_reached() {
    use UpstreamHttp::{Auto, Http1, Http2};
    for (text, said, host, port, http) in [
        ("http://a", Auto, "a", 80, Auto),
        ("http://a:8080/", Auto, "a", 8080, Auto),
        ("http://[::1]:9", Auto, "::1", 9, Auto),
        ("http://a", Http2, "a", 80, Http2),
        ("h2c://a:81", Auto, "a", 81, Http2),
        ("https://a", Auto, "a", 443, Auto),
        ("https://127.0.0.1:444", Http1, "127.0.0.1", 444, Http1),
        ("unix:/run/a.sock", Auto, "localhost", 80, Auto),
        ("unix+h2c:/run/a.sock", Auto, "localhost", 80, Http2),
    ] {
        let found = reader(said).upstream(text).unwrap();
        assert_eq!((&*found.host, found.port, found.http), (host, port, http), "{text}");
        assert_eq!(found.url, text);
        let fits = match found.transport {
            Transport::Tcp => text.starts_with("http:") || text.starts_with("h2c:"),
            Transport::Unix(path) => path.ends_with("run/a.sock"),
            Transport::Tls(_) => text.starts_with("https:"),
        };
        assert!(fits, "{text}");
    }
}

#[test]
fn what_is_no_upstream_is_told() {
    for (text, said) in [
        ("a:80", UpstreamHttp::Auto),
        ("ftp://a", UpstreamHttp::Auto),
        ("http://a/path", UpstreamHttp::Auto),
        ("http://a?query", UpstreamHttp::Auto),
        ("http://user:password@a", UpstreamHttp::Auto),
        ("unix:", UpstreamHttp::Auto),
        ("h2c://a", UpstreamHttp::Http1),
        ("unix+h2c:/a", UpstreamHttp::Http1),
        ("", UpstreamHttp::Auto),
    ] {
        assert!(reader(said).upstream(text).is_err(), "{text}");
    }
}

#[test]
fn rules_of_the_table() {
    let mut reader = reader(UpstreamHttp::Auto);
    let route = reader.route("host=*.a.example,path=/v1,upstream=http://b:81").unwrap();
    assert_eq!(route.host.as_deref(), Some("*.a.example"));
    assert_eq!((route.path.as_deref(), route.upstream.port), (Some("/v1"), 81));
    for wrong in [
        "upstream=http://b",
        "host=a",
        "host=a,upstream=ftp://b",
        "host=a,host=b,upstream=http://b",
        "host=a*,upstream=http://b",
        "host=,upstream=http://b",
        "path=v1,upstream=http://b",
        "path=/v1?x,upstream=http://b",
        "port=1,upstream=http://b",
        "nonsense",
    ] {
        assert!(reader.route(wrong).is_err(), "{wrong}");
    }
}
