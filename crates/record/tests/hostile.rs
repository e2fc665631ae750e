//! Whatever users type and clients send: rules are refused with a reason, or hold for
//! any request; nothing panics, and nothing takes long. `UMBRA_TEST_LONG=1` tries a
//! hundred times as much, from another seed each time.

#![allow(clippy::unwrap_used)] // A test says what it expects; a panic is its failure.

use proptest::{
    collection, option,
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed},
};
use umbra_record::{
    authority::{self, ShadowHost},
    redact::{Action, HashKey, Redaction, Rules as Redact, Secrets},
    select::{RequestView, Rules, Selection},
};

fn cases(usual: u32) -> Config {
    match std::env::var_os("UMBRA_TEST_LONG") {
        Some(_) => Config::with_cases(usual * 100),
        None => Config { rng_seed: RngSeed::Fixed(9), ..Config::with_cases(usual) },
    }
}

/// Bytes that mean something somewhere, and any others.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => collection::vec(select(&b"ab:/.*~[]=?&;,% \"-@\0\r\n\xff\xe9"[..]), 0..8),
        1 => collection::vec(any::<u8>(), 0..8),
        1 => select(&["host", "-shadow", "[::1]", ":80", "%zz", "token", "sid="][..])
            .prop_map(|word| word.as_bytes().to_vec()),
    ];
    collection::vec(piece, 0..6).prop_map(move |pieces| {
        let mut all = pieces.concat();
        all.truncate(most);
        all
    })
}

/// What somebody types as a rule.
fn typed() -> impl Strategy<Value = String> {
    let piece = select(
        &[
            "*", "/", "~", "=", ":", ".", "a", "b", "api", "Host", "(", ")", "[", "]", "{9,", "}",
            "+", "|", "\\", "^", "$", "?", " ", "é", "\u{0}", "**", "json", "header", "cookie",
            "query", "form", "tokens", "drop", "hash", "seal", "id", "client", "100", "0.0001",
            "-1", "1e3", "nan", "[::1]", "%", "(?i)", "(a|b)*", "\\p{L}", "x{1000}",
        ][..],
    );
    let composed = collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => composed, 1 => any::<String>()]
}

fn rules() -> impl Strategy<Value = Rules> {
    let list = || collection::vec(typed(), 0..3);
    let lists = (list(), list(), list(), list(), list(), list(), list(), list());
    let types = (list(), list());
    let sizes = (option::of(any::<u64>()), option::of(any::<u64>()));
    let sample = (option::of(typed()), option::of(typed()));
    (lists, types, sizes, sample).prop_map(|(lists, types, sizes, (percent, percent_by))| {
        let (methods, skip_methods, hosts, skip_hosts, paths, skip_paths, headers, skip_headers) =
            lists;
        Rules {
            methods,
            skip_methods,
            hosts,
            skip_hosts,
            paths,
            skip_paths,
            headers,
            skip_headers,
            content_types: types.0,
            skip_content_types: types.1,
            min_size: sizes.0,
            max_size: sizes.1,
            percent,
            percent_by,
        }
    })
}

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

fn headers() -> impl Strategy<Value = Headers> {
    let known = select(
        &[
            "Host",
            "cookie",
            "Set-Cookie",
            "authorization",
            "Referer",
            "location",
            "content-type",
            "Content-Encoding",
            "content-length",
            "x-forwarded-for",
            "a",
        ][..],
    );
    let name = prop_oneof![4 => known.prop_map(|name| name.as_bytes().to_vec()), 1 => bytes(20)];
    let value = prop_oneof![
        2 => bytes(60),
        1 => select(
            &[
                "application/json", "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=b", "multipart/form-data; boundary=\"", "gzip",
                "gzip, br", "zstd", "deflate", "identity,,", "sid=1; token=2; =; ;;a",
                "https://h/?token=1&a#b", "text/plain; charset=utf-16",
            ][..],
        )
        .prop_map(|value| value.as_bytes().to_vec()),
    ];
    collection::vec((name, value), 0..6)
}

/// A selection of rules that are good one by one.
fn selection(rules: &Rules) -> Option<Selection> {
    Selection::new(rules, "capture").ok()
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn selection_rules_are_refused_in_words_or_hold(
        rules in rules(),
        texts in (bytes(10), bytes(30), bytes(40), option::of(bytes(40))),
        headers in headers(),
        peer in typed(),
        id in bytes(16),
        body_is_open in any::<bool>(),
    ) {
        let (method, authority, path, query) = texts;
        let view = RequestView {
            method: &method,
            authority: &authority,
            path: &path,
            query: query.as_deref(),
            headers: &headers,
            peer: &peer,
            id: &id,
            size: (!body_is_open).then_some(id.len() as u64),
        };
        match Selection::new(&rules, "capture") {
            Ok(selection) => {
                let decided = selection.decide(&view);
                prop_assert_eq!(decided, selection.decide(&view));
                prop_assert!(!decided.to_string().is_empty());
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| problem.starts_with("--")), "{:?}", problems);
            }
        }
        // Most of them together are refused; one alone may be good.
        for path in &rules.paths {
            let alone = Rules { paths: vec![path.clone()], ..Rules::default() };
            selection(&alone).map(|selection| selection.decide(&view).is_selected());
        }
        for header in &rules.headers {
            let alone = Rules { skip_headers: vec![header.clone()], ..Rules::default() };
            selection(&alone).map(|selection| selection.decide(&view).is_selected());
        }
        let by = Rules { percent: Some("50".into()), percent_by: rules.percent_by, ..Rules::default() };
        selection(&by).map(|selection| selection.decide(&view).is_selected());
    }

    #[test]
    fn the_authority_rule_takes_any_bytes_and_is_undone(
        authority in bytes(40),
        rule in typed(),
        target in "[a-z]{1,5}:[0-9]{1,3}",
    ) {
        let shadow = ShadowHost::default().apply(&authority, &target).into_owned();
        let host = authority::split_port(&authority).0;
        if !host.is_empty() {
            let undone = authority::strip_suffix(&shadow, authority::SUFFIX);
            prop_assert_eq!(undone, Some(authority.clone()));
        }
        authority::strip_suffix(&authority, authority::SUFFIX);
        for rule in [rule.clone(), format!("suffix={rule}"), format!("set:{rule}")] {
            if let Ok(rule) = rule.parse::<ShadowHost>() {
                rule.apply(&authority, &target);
            }
        }
    }

    #[test]
    fn redaction_takes_any_rule_and_any_message(
        typed in collection::vec((typed(), select(&["drop", "hash", "seal", "x"][..])), 0..4),
        kinds in collection::vec(
            (select(&["header", "cookie", "query", "form", "json"][..]), typed()), 0..4,
        ),
        query in option::of(bytes(60)),
        headers in headers(),
        body in bytes(200),
    ) {
        let rules = typed.iter().map(|(place, action)| format!("{place}={action}"));
        let rules = rules.chain(kinds.iter().map(|(kind, name)| format!("{kind}:{name}=hash")));
        let rules: Vec<String> = rules.collect();
        let all = Redact { credentials: Action::Hash, redact: rules.clone() };
        if let Err(problems) = Redaction::new(&all) {
            prop_assert!(!problems.is_empty());
        }
        let good = rules.into_iter().filter(|rule| {
            Redaction::new(&Redact { credentials: Action::Keep, redact: vec![rule.clone()] }).is_ok()
        });
        let redact = good.chain(["tokens=hash".to_owned(), "json:**.a=drop".to_owned()]).collect();
        let redaction = Redaction::new(&Redact { credentials: Action::Drop, redact }).unwrap();
        let again = Redaction::from_text(redaction.text()).unwrap();
        prop_assert_eq!(again.rule_set(), redaction.rule_set());
        let key = HashKey::new(b"key");
        let mut secrets = Secrets::new(&[7; 16], Some(&key), None);
        redaction.head(query.as_deref(), &headers, &mut secrets);
        redaction.body(&headers, &body, 100, &mut secrets);
        for kind in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"] {
            let headers: Headers = vec![(b"content-type".to_vec(), kind.into())];
            redaction.body(&headers, &body, 100, &mut secrets);
        }
    }
}

/// Each a body that is well formed until something is done to it.
const BODIES: &[(&str, &[u8])] = &[
    ("application/json", br#"{"a":[1,{"token":"x\u00e9"},null],"b":{"a":"\\"},"c":-1.5e+3}"#),
    ("application/x-www-form-urlencoded", b"a=1&token=x%20y&&b[a]=%zz&c"),
    (
        "multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=a; filename=\"\\\"\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--b--\r\n",
    ),
];

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn redaction_takes_damaged_bodies(
        (which, coded) in (0..BODIES.len(), any::<bool>()),
        damage in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in option::weighted(0.3, any::<prop::sample::Index>()),
        limit in 0..300usize,
    ) {
        let (kind, body) = BODIES[which];
        let mut body = body.to_vec();
        if coded {
            body = zstd::bulk::compress(&body, 1).unwrap();
        }
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let mut headers: Headers = vec![(b"content-type".to_vec(), kind.into())];
        if coded {
            headers.push((b"content-encoding".to_vec(), b"zstd".to_vec()));
        }
        let redact = vec!["tokens=hash".to_owned(), "json:**.a=drop".to_owned(), "form:a=drop".to_owned()];
        let redaction = Redaction::new(&Redact { credentials: Action::Keep, redact }).unwrap();
        let key = HashKey::new(b"key");
        let mut secrets = Secrets::new(&[7; 16], Some(&key), None);
        if let Some(redacted) = redaction.body(&headers, &body, limit, &mut secrets) {
            // A hash may be longer than what it stands for, nothing else grows.
            prop_assert!(redacted.bytes.len() <= body.len().max(limit) + 20 * 64);
        }
    }
}
