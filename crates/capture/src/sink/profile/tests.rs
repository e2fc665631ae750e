use super::*;

type Line = (&'static str, &'static str);

fn view<'a>(authority: &'a str, fields: &'a dyn Fields) -> View<'a> {
    View { authority: authority.as_bytes(), fields }
}

/// What is recorded of an authority and of fields.
fn recorded(sink: &Sink, authority: &str, fields: &[Line]) -> (String, Vec<(String, String)>) {
    let restored = sink.restore(view(authority, &fields));
    let left = fields.iter().enumerate().filter_map(|(index, (name, value))| {
        let value = match restored.of(index) {
            Some(Change::Drop) => return None,
            Some(Change::Value(value)) => String::from_utf8(value.clone()).unwrap(),
            None => (*value).to_owned(),
        };
        Some(((*name).to_owned(), value))
    });
    let left = left.collect();
    let authority = restored.authority.unwrap_or_else(|| authority.as_bytes().to_vec());
    (String::from_utf8(authority).unwrap(), left)
}

fn owned(lines: &[Line]) -> Vec<(String, String)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn names_are_read_and_told() {
    for (name, profile) in Profile::NAMES {
        assert_eq!(name.parse(), Ok(profile));
    }
    let problem = "linkerd".parse::<Profile>().unwrap_err();
    assert_eq!(problem, "expected one of plain, envoy, istio, gateway-api, nginx");
}

#[test]
fn one_suffix_is_taken_off_before_the_port_where_the_mesh_appends_it() {
    let cases = [
        ("cluster1-shadow", "cluster1"),
        ("cluster1-shadow:8000", "cluster1:8000"),
        ("127.0.0.1-shadow:9", "127.0.0.1:9"),
        ("[::1]-shadow", "[::1]"),
        ("[::1]-shadow:8000", "[::1]:8000"),
        // A service that is called so itself: Envoy has appended another.
        ("foo-shadow-shadow", "foo-shadow"),
        ("plain.example", "plain.example"),
        ("shadow.example:1", "shadow.example:1"),
        ("-shadow:1", "-shadow:1"),
        ("Foo-SHADOW", "Foo-SHADOW"),
        ("", ""),
    ];
    for (received, before) in cases {
        for profile in [Profile::Envoy, Profile::Istio] {
            let sink = Sink::new(profile);
            assert_eq!(recorded(&sink, received, &[]).0, before, "{profile:?}");
            let kept = Sink { suffix: Suffix::Keep, ..sink };
            assert_eq!(recorded(&kept, received, &[]).0, received, "{profile:?}");
        }
        for profile in [Profile::Plain, Profile::GatewayApi, Profile::Nginx] {
            let sink = Sink::new(profile);
            assert_eq!(recorded(&sink, received, &[]).0, received, "{profile:?}");
            let stripped = Sink { suffix: Suffix::Strip, ..sink };
            assert_eq!(recorded(&stripped, received, &[]).0, before, "{profile:?}");
        }
    }
}

#[test]
fn what_each_mesh_adds_is_taken_out() {
    const SENT: [Line; 6] = [
        ("user-agent", "x"),
        ("x-request-id", "7"),
        ("traceparent", "00-1-2-01"),
        ("x-b3-sampled", "0"),
        ("x-envoy-original-path", "/before"),
        ("cookie", "a=b"),
    ];
    const ENVOY: [Line; 3] = [
        ("X-Envoy-Internal", "true"),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
        ("x-envoy-attempt-count", "1"),
    ];
    const ISTIO: [Line; 3] = [
        ("x-envoy-decorator-operation", "svc:80/*"),
        ("x-envoy-peer-metadata", "e30="),
        ("x-envoy-peer-metadata-id", "sidecar~1"),
    ];
    const CONNECTION: [Line; 1] = [("Connection", "close")];
    let all = [&SENT[..], &ENVOY, &ISTIO, &CONNECTION].concat();
    let without = |gone: &[&[Line]]| {
        let gone = gone.concat();
        owned(&all.iter().filter(|line| !gone.contains(line)).copied().collect::<Vec<_>>())
    };
    for (profile, gone) in [
        (Profile::Plain, &[][..]),
        (Profile::Envoy, &[&ENVOY[..]][..]),
        (Profile::Istio, &[&ENVOY, &ISTIO]),
        (Profile::GatewayApi, &[&ENVOY, &ISTIO]),
        (Profile::Nginx, &[&CONNECTION]),
    ] {
        assert_eq!(recorded(&Sink::new(profile), "a", &all).1, without(gone), "{profile:?}");
    }
    // Without Envoy's sign another implementation of the Gateway API may have been at
    // work: nothing is known of what it adds.
    let others = &all[..SENT.len()].to_vec();
    let others = [others, &ISTIO[..]].concat();
    assert_eq!(recorded(&Sink::new(Profile::GatewayApi), "a", &others).1, owned(&others));
}

#[test]
fn the_mirrors_own_element_of_forwarded_for_is_taken_out() {
    const INTERNAL: Line = ("x-envoy-internal", "true");
    let cases: [(&[Line], &[Line], Option<&str>); 7] = [
        // Envoy's own address alone: the client sent no such field.
        (&[("x-forwarded-for", "10.0.0.9")], &[], None),
        (
            &[("x-forwarded-for", "1.2.3.4,10.0.0.9")],
            &[("x-forwarded-for", "1.2.3.4")],
            Some("1.2.3.4"),
        ),
        (
            &[("x-forwarded-for", "1.2.3.4, 5.6.7.8,10.0.0.9")],
            &[("x-forwarded-for", "1.2.3.4, 5.6.7.8")],
            Some("1.2.3.4"),
        ),
        (
            &[("X-Forwarded-For", "1.2.3.4"), ("x-forwarded-for", "10.0.0.9")],
            &[("X-Forwarded-For", "1.2.3.4")],
            Some("1.2.3.4"),
        ),
        (&[("x-forwarded-for", ",10.0.0.9")], &[("x-forwarded-for", "")], None),
        (&[("x-forwarded-for", "")], &[], None),
        (&[], &[], None),
    ];
    for (received, left, client) in cases {
        for profile in [Profile::Envoy, Profile::Istio, Profile::GatewayApi] {
            let received = [received, &[INTERNAL]].concat();
            let sink = Sink::new(profile);
            assert_eq!(recorded(&sink, "a", &received).1, owned(left), "{profile:?} {received:?}");
            let found = sink.client(view("a", &received));
            assert_eq!(found, client.map(str::as_bytes), "{profile:?} {received:?}");
        }
        let sink = Sink::new(Profile::Plain);
        assert_eq!(recorded(&sink, "a", received).1, owned(received));
    }
}

#[test]
fn a_client_is_known_by_its_address_else_a_request_by_its_id() {
    let id = ("x-request-id", "5d");
    let client = |profile, fields: &[Line]| {
        let found = Sink::new(profile).client(view("a", &fields)).map(<[u8]>::to_vec);
        found.map(|found| String::from_utf8(found).unwrap())
    };
    let envoy = |fields: &[Line]| client(Profile::Envoy, fields);
    assert_eq!(envoy(&[id, ("x-forwarded-for", "1.1.1.1,10.0.0.9")]).as_deref(), Some("1.1.1.1"));
    assert_eq!(envoy(&[id, ("x-forwarded-for", "10.0.0.9")]).as_deref(), Some("5d"));
    assert_eq!(envoy(&[("x-forwarded-for", "10.0.0.9")]), None);
    // nginx appends the client's address, not its own.
    let only = [id, ("x-forwarded-for", "1.1.1.1")];
    assert_eq!(client(Profile::Nginx, &only).as_deref(), Some("1.1.1.1"));
    assert_eq!(client(Profile::Plain, &only).as_deref(), Some("1.1.1.1"));
    // An implementation that is not Envoy appends nothing that is known.
    assert_eq!(client(Profile::GatewayApi, &only).as_deref(), Some("1.1.1.1"));
}

#[test]
fn path_and_host_are_put_back_when_asked_for_and_fit_to_be() {
    let fields: &[Line] = &[
        ("x-envoy-original-path", "/old?q=1"),
        ("x-envoy-original-host", "old.example:81"),
        ("accept", "*/*"),
    ];
    let sink = Sink { original: true, ..Sink::new(Profile::Envoy) };
    let restored = sink.restore(view("new.example-shadow", &fields));
    assert_eq!(restored.authority.as_deref(), Some(&b"old.example:81"[..]));
    assert_eq!(restored.target.as_deref(), Some(&b"/old?q=1"[..]));
    assert_eq!(restored.fields, [(0, Change::Drop), (1, Change::Drop)]);
    // Not asked for: as the service itself gets it.
    let restored = Sink::new(Profile::Envoy).restore(view("new.example-shadow", &fields));
    assert_eq!(restored.authority.as_deref(), Some(&b"new.example"[..]));
    assert_eq!((restored.target, restored.fields), (None, vec![]));
    for unfit in ["", "old", "/a b", "/a\tb", "http://a/"] {
        let fields: &[Line] = &[("x-envoy-original-path", unfit)];
        assert!(sink.restore(view("a", &fields)).is_nothing(), "{unfit}");
    }
    for unfit in ["", "a b", "a/b", "user@a", ":80"] {
        let fields: &[Line] = &[("x-envoy-original-host", unfit)];
        assert!(sink.restore(view("a", &fields)).is_nothing(), "{unfit}");
    }
}
