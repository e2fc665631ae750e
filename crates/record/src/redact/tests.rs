use std::{io::Write, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::seal::{DataKey, OpenError, Opener, Sealer};

type Headers = Vec<(&'static str, &'static str)>;

fn redaction(credentials: &str, redact: &[&str]) -> Redaction {
    Redaction::new(&Rules {
        credentials: Action::parse(credentials).unwrap(),
        redact: redact.iter().map(|rule| (*rule).to_owned()).collect(),
    })
    .unwrap()
}

/// A sealer with a key of its own, and what opens its values.
fn sealer() -> (Sealer, Opener) {
    let key = Arc::new(DataKey::generate("k".to_owned()).unwrap());
    let mut opener = Opener::default();
    opener.add(&key);
    (Sealer::new(key).unwrap(), opener)
}

/// What a record of this request would hold.
fn recorded(
    redaction: &Redaction,
    sealer: Option<&mut Sealer>,
    query: Option<&str>,
    headers: &Headers,
    body: Option<&[u8]>,
) -> (pb::Request, Option<Vec<Bytes>>) {
    let hash = HashKey::new(b"salt");
    let mut secrets = Secrets::new(&[7; 16], Some(&hash), sealer);
    let fields = headers.clone();
    let new_body = body.and_then(|body| redaction.body(&fields, body, 1 << 20, &mut secrets));
    let mut head =
        redaction.head(query.map(str::as_bytes), &fields, &mut secrets).unwrap_or_else(|| {
            RedactedHead {
                query: query.map(|query| query.as_bytes().into()),
                headers: fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes().into())).collect(),
            }
        });
    if let Some(new) = &new_body {
        head.fit(Some(new.bytes.len()));
    }
    let line = |(name, value): &(&[u8], std::borrow::Cow<'_, [u8]>)| pb::Header {
        name: Bytes::copy_from_slice(name),
        value: Bytes::copy_from_slice(value),
    };
    let request = pb::Request {
        id: Bytes::from_static(&[7; 16]),
        query: head.query.as_deref().map(Bytes::copy_from_slice),
        headers: head.headers.iter().map(line).collect(),
        sealed: secrets.sealed,
        ..Default::default()
    };
    let body = body.map(|body| {
        vec![match new_body {
            Some(new) => new.bytes.into(),
            None => Bytes::copy_from_slice(body),
        }]
    });
    (request, body)
}

fn lines(request: &pb::Request) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    request.headers.iter().map(|one| format!("{}: {}", text(&one.name), text(&one.value))).collect()
}

fn headers() -> Headers {
    vec![
        ("Host", "shop"),
        ("Authorization", "Bearer secret-1"),
        ("cookie", "sid=secret-2; theme=dark"),
        ("Content-Type", "application/json"),
        ("Content-Length", "52"),
        ("Referer", "https://shop/?token=secret-3&page=2#top"),
    ]
}

const BODY: &[u8] = br#"{"user":{"password":"secret-4","n":1.0},"token":null}"#;

#[test]
fn nothing_changes_without_rules_or_secrets() {
    let nothing = redaction("keep", &[]);
    assert!(nothing.is_nothing() && nothing.rule_set().is_empty() && nothing.text().is_empty());
    let (request, body) = recorded(&nothing, None, Some("token=x"), &headers(), Some(BODY));
    assert_eq!(lines(&request).len(), 6);
    assert_eq!(body.unwrap()[0], BODY);
    let all = redaction("drop", &["tokens=drop"]);
    let harmless: Headers = vec![("host", "shop")];
    let mut secrets = Secrets::new(&[7; 16], None, None);
    assert_eq!(all.head(Some(b"a=1"), &harmless, &mut secrets), None);
    assert_eq!(all.body(&harmless, br#"{"a":1}"#, 100, &mut secrets), None);
}

#[test]
fn dropped_values_are_gone() {
    let rules = redaction("drop", &["tokens=drop", "json:user.n=drop"]);
    let (request, body) =
        recorded(&rules, None, Some("a=1&access_token=secret-5"), &headers(), Some(BODY));
    assert_eq!(request.query.as_deref(), Some(&b"a=1"[..]));
    assert_eq!(
        lines(&request),
        [
            "Host: shop",
            "Content-Type: application/json",
            "Content-Length: 11",
            "Referer: https://shop/?page=2#top"
        ]
    );
    assert_eq!(body.unwrap()[0], &br#"{"user":{}}"#[..]);
}

#[test]
fn equal_values_have_equal_hashes() {
    let rules =
        redaction("keep", &["header:authorization=hash", "query:token=hash", "cookie:SID=hash"]);
    let query = "token=secret-2";
    let (request, _) = recorded(&rules, None, Some(query), &headers(), None);
    let query = String::from_utf8(request.query.clone().unwrap().to_vec()).unwrap();
    let hash = query.strip_prefix("token=").unwrap();
    assert!(hash.starts_with(HASHED) && hash.len() == HASHED.len() + 32);
    assert!(lines(&request).contains(&format!("cookie: sid={hash}; theme=dark")));
    assert!(!format!("{request:?}").contains("secret-2"));
}

#[test]
fn sealed_values_come_back_into_the_request() {
    let rules = redaction("seal", &["tokens=seal"]);
    let (mut sealer, opener) = sealer();
    let mut all = headers();
    all.push(("x-api-key", "secret-6"));
    all.push(("X-API-Key", "secret-7"));
    let query = Some("a=1&token=secret-5&token=secret-8");
    let (request, body) = recorded(&rules, Some(&mut sealer), query, &all, Some(BODY));
    let kept = format!("{request:?} {body:?}");
    assert!(!kept.contains("secret-"), "{kept}");
    assert_eq!(request.sealed.len(), 8);

    let (mut sent, mut whole) = (request.clone(), body.clone());
    let restored = restore(&mut sent, &mut whole, Some(&opener), false).unwrap();
    assert_eq!(restored, Restored { opened: 8, omitted: 0 });
    assert_eq!(sent.query.as_deref(), query.map(str::as_bytes));
    assert_eq!(whole.unwrap()[0], BODY);
    let mut wanted: Vec<String> = all.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    wanted[4] = format!("Content-Length: {}", BODY.len());
    wanted[5] = "Referer: https://shop/?token=umbra-sealed&page=2#top".to_owned();
    assert_eq!(lines(&sent), wanted);

    // Without the key, an error, or a request without those values.
    let (mut sent, mut whole) = (request, body);
    let error = restore(&mut sent.clone(), &mut whole, None, false).unwrap_err();
    assert_eq!(error, OpenError::NoKey("k".to_owned()));
    let restored = restore(&mut sent, &mut whole, None, true).unwrap();
    assert_eq!(restored, Restored { opened: 0, omitted: 8 });
    assert_eq!(sent.query.as_deref(), Some(&b"a=1"[..]));
    assert_eq!(whole.unwrap()[0], &br#"{"user":{"n":1.0}}"#[..]);
    assert!(!lines(&sent).iter().any(|line| line.contains("Authorization")));
}

#[test]
fn a_clients_own_placeholder_stays_what_it_is() {
    let rules = redaction("seal", &[]);
    let (mut sealer, opener) = sealer();
    let all: Headers = vec![("x-other", "umbra-sealed"), ("authorization", "umbra-sealed")];
    let (mut request, _) = recorded(&rules, Some(&mut sealer), None, &all, None);
    restore(&mut request, &mut None, Some(&opener), false).unwrap();
    assert_eq!(lines(&request), ["x-other: umbra-sealed", "authorization: umbra-sealed"]);
}

#[test]
fn cookies_of_answers_keep_their_names_and_attributes() {
    let rules = redaction("hash", &["cookie:theme=drop"]);
    let all: Headers =
        vec![("Set-Cookie", "sid=s3cret; Path=/; HttpOnly"), ("set-cookie", "theme=x")];
    let (request, _) = recorded(&rules, None, None, &all, None);
    let lines = lines(&request);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("Set-Cookie: sid=umbra-hash:")
            && lines[0].ends_with("; Path=/; HttpOnly")
    );
}

#[test]
fn what_cannot_be_looked_at_is_cut() {
    let rules = redaction("keep", &["tokens=drop"]);
    let (request, body) = recorded(
        &rules,
        None,
        None,
        &vec![("content-type", "application/json"), ("content-length", "9"), ("etag", "x")],
        Some(br#"{"a":1,"password":"hal"#),
    );
    assert_eq!(body.unwrap()[0], &br#"{"a":1,"password":"#[..]);
    assert_eq!(lines(&request), ["content-type: application/json", "content-length: 18"]);
    let unknown = vec![("content-type", "application/json"), ("content-encoding", "lzma")];
    let (_, body) = recorded(&rules, None, None, &unknown, Some(b"whatever"));
    assert!(body.unwrap()[0].is_empty());
    let opaque = vec![("content-type", "image/png"), ("content-encoding", "lzma")];
    let (_, body) = recorded(&rules, None, None, &opaque, Some(b"whatever"));
    assert_eq!(body.unwrap()[0], &b"whatever"[..]);
}

#[test]
fn compressed_bodies_are_decoded_and_stay_so() {
    let rules = redaction("keep", &["json:password=drop"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(br#"{"password":"x","b":2}"#).unwrap();
    let headers: Headers = vec![("content-encoding", "gzip"), ("content-type", "text/plain")];
    let (request, body) = recorded(&rules, None, None, &headers, Some(&gzip.finish().unwrap()));
    assert_eq!(body.unwrap()[0], &br#"{"b":2}"#[..]);
    assert_eq!(lines(&request), ["content-type: text/plain"]);
}

#[test]
fn forms_are_understood() {
    let rules = redaction("keep", &["form:pin=seal", "tokens=drop"]);
    let (mut sealer, opener) = sealer();
    let headers: Headers = vec![
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("content-length", "31"),
    ];
    let (mut request, mut body) =
        recorded(&rules, Some(&mut sealer), None, &headers, Some(b"user=ann&pin=1234&password=x"));
    assert_eq!(body.as_ref().unwrap()[0], &b"user=ann&pin=umbra-sealed"[..]);
    restore(&mut request, &mut body, Some(&opener), false).unwrap();
    assert_eq!(body.unwrap()[0], &b"user=ann&pin=1234"[..]);
    assert_eq!(lines(&request)[1], "content-length: 17");
}

#[test]
fn what_was_not_sealed_is_sent_as_it_came() {
    let rules = redaction("keep", &["form:pass=seal"]);
    let (mut sealer, opener) = sealer();
    let headers = vec![("content-type", "multipart/form-data; boundary=B")];
    let field = "Content-Disposition: form-data; name=";
    let body = format!(
        "--B\r\n{field}note\r\n\r\n{{hello world\r\n--B\r\n{field}pass\r\n\r\nsecret\r\n--B--"
    );
    let (mut sent, mut whole) =
        recorded(&rules, Some(&mut sealer), None, &headers, Some(body.as_bytes()));
    assert!(!format!("{whole:?}").contains("secret"));
    restore(&mut sent, &mut whole, Some(&opener), false).unwrap();
    assert_eq!(String::from_utf8_lossy(&whole.unwrap()[0]), body);
}

#[test]
fn urls_that_proxies_tell_are_looked_at() {
    let rules = redaction("keep", &["tokens=drop"]);
    for name in ["x-envoy-original-path", "X-Original-URI", "x-forwarded-uri", "referer"] {
        let headers = vec![(name, "/a?token=secret&b=1")];
        let (request, _) = recorded(&rules, None, None, &headers, None);
        assert_eq!(lines(&request), [format!("{name}: /a?b=1")]);
    }
}

#[test]
fn what_says_it_is_something_else_is_looked_at() {
    let rules = redaction("keep", &["tokens=drop"]);
    let secret = |headers: &Headers, body: &[u8]| {
        let (_, body) = recorded(&rules, None, None, headers, Some(body));
        String::from_utf8_lossy(&body.unwrap()[0]).into_owned()
    };
    let form = vec![("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(secret(&form, br#"{"password":"x"}"#), "{}");
    assert_eq!(secret(&form, b"whatever"), "");
    assert_eq!(secret(&form, b"user[password]=x&a=1"), "a=1");
    let two = vec![("content-type", "image/png"), ("content-type", "application/json")];
    assert_eq!(secret(&two, br#"{"password":"x"}"#), "{}");
    let wide: Vec<u8> = r#"{"password":"x"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(secret(&vec![("content-type", "text/plain")], &wide), "{");
    let mixed = vec![("content-type", "multipart/mixed; boundary=B")];
    let parts = b"--B\r\nContent-Disposition: form-data; name=meta\r\nContent-Type: application/json\r\n\r\n{\"token\":1}\r\n--B--";
    assert!(secret(&mixed, parts).ends_with("\r\n\r\n{}\r\n--B--"));
    let text = String::from_utf8_lossy(parts).replace("application/json", "text/plain");
    assert!(secret(&mixed, text.as_bytes()).ends_with("\r\n\r\n{}\r\n--B--"));
}

#[test]
fn nameless_cookies_and_fragments_are_secrets_too() {
    let rules = redaction("drop", &["cookie:a=hash", "tokens=drop"]);
    let all = vec![
        ("cookie", "bare; x=1"),
        ("set-cookie", "bare; Path=/"),
        ("location", "https://app/cb#access_token=s&state=1"),
    ];
    let (request, _) = recorded(&rules, None, None, &all, None);
    assert_eq!(lines(&request), ["location: https://app/cb#state=1"]);
}

#[test]
fn the_number_of_sealed_values_is_bounded() {
    let rules = redaction("keep", &["tokens=seal"]);
    let (mut sealer, opener) = sealer();
    let text = format!("[{}]", vec![r#"{"token":1}"#; MAX_SEALED + 1].join(","));
    let headers = vec![("content-type", "application/json")];
    let (mut request, mut body) =
        recorded(&rules, Some(&mut sealer), None, &headers, Some(text.as_bytes()));
    assert_eq!(request.sealed.len(), MAX_SEALED);
    restore(&mut request, &mut body, Some(&opener), false).unwrap();
    assert_eq!(body.unwrap()[0], text.replace(r#",{"token":1}]"#, ",{}]").as_bytes());
}

#[test]
fn the_bytes_of_sealed_values_are_bounded() {
    let rules = redaction("keep", &["json:a=seal", "json:b=seal", "query:q=hash"]);
    let (mut sealer, _) = sealer();
    let (a, b) = ("a".repeat(MAX_SEALED_BYTES - 1000), "b".repeat(2000));
    let text = format!(r#"{{"a":"{a}","b":"{b}","c":1}}"#);
    let headers: Headers = vec![("content-type", "application/json")];
    let mut secrets = Secrets::new(&[7; 16], None, Some(&mut sealer));
    let new = rules.body(&headers, text.as_bytes(), 1 << 20, &mut secrets).unwrap();
    assert_eq!(new.bytes, br#"{"a":"umbra-sealed","c":1}"#);
    // Neither does a value pass that was to be hashed, and there is no key.
    let head = rules.head(Some(b"q=1"), &headers, &mut secrets).unwrap();
    assert_eq!(head.query.as_deref(), Some(&b""[..]));
    assert_eq!((secrets.sealed.len(), secrets.dropped), (1, 2));
}

#[test]
fn later_parts_of_a_message_count_on() {
    let rules = redaction("seal", &["json:a=seal"]);
    let (mut sealer, opener) = sealer();
    let headers: Headers = vec![("x-api-key", "one"), ("x-api-key", "two")];
    let mut secrets = Secrets::new(&[7; 16], None, Some(&mut sealer));
    rules.head(None, &headers, &mut secrets).unwrap();
    let first = secrets.sealed;
    let trailers: Headers = vec![("x-api-key", "three")];
    let mut secrets = Secrets::new(&[7; 16], None, Some(&mut sealer)).after(&first);
    rules.head(None, &trailers, &mut secrets).unwrap();
    let line = |name: &str| pb::Header {
        name: name.to_owned().into(),
        value: Bytes::from_static(crate::seal::PLACEHOLDER),
    };
    let mut request = pb::Request {
        id: Bytes::from_static(&[7; 16]),
        headers: vec![line("x-api-key"), line("x-api-key")],
        trailers: vec![line("x-api-key")],
        sealed: [first, secrets.sealed].concat(),
        ..Default::default()
    };
    restore(&mut request, &mut None, Some(&opener), false).unwrap();
    assert_eq!(lines(&request), ["x-api-key: one", "x-api-key: two"]);
    assert_eq!(request.trailers[0].value, &b"three"[..]);
}

#[test]
fn json_in_events_is_looked_at() {
    let rules = redaction("keep", &["tokens=drop", "json:user.id=seal"]);
    let headers: Headers = vec![("content-type", "text/event-stream; charset=utf-8")];
    let stream = "\u{feff}data: {\"token\":\"s3cret-1\",\"n\":1}\n\n\
        : {\"token\":\"said aloud\"}\r\nevent: x\r\nid: 7\r\ndata:{\"user\":\r\ndata: {\"id\":\r\n\
        data:   \"s3cret-2\"}}\r\n\r\ndata: [DONE]\n\ndata: plain {\"token\":1}\n\n\
        data: {\"user\":{\"id\":[\ndata: 1]}}\n";
    let (mut sealer, opener) = sealer();
    let (mut request, mut body) =
        recorded(&rules, Some(&mut sealer), None, &headers, Some(stream.as_bytes()));
    let kept = String::from_utf8(body.as_ref().unwrap()[0].to_vec()).unwrap();
    let expected = "\u{feff}data: {\"n\":1}\n\n\
        : {\"token\":\"said aloud\"}\r\nevent: x\r\nid: 7\r\ndata:{\"user\":\r\ndata: {\"id\":\r\n\
        data:   \"umbra-sealed\"}}\r\n\r\ndata: [DONE]\n\ndata: plain {\"token\":1}\n\n\
        data: {\"user\":{\"id\":\"umbra-sealed\"}}\ndata: \n";
    assert_eq!(kept, expected);
    restore(&mut request, &mut body, Some(&opener), false).unwrap();
    let back = String::from_utf8(body.unwrap()[0].to_vec()).unwrap();
    assert_eq!(back, stream.replace("\"token\":\"s3cret-1\",", "") + "data: \n");
    // What does not parse is cut off, and so is what follows.
    let broken = b"data: {\"a\":1,\ndata: \"password\":\"hal\n\ndata: {\"a\":2}\n\n";
    let (_, body) = recorded(&rules, None, None, &headers, Some(broken));
    assert_eq!(body.unwrap()[0], &b"data: {\"a\":1,\ndata: \"password\":"[..]);
}

#[test]
fn forms_that_do_not_say_so_are_looked_at() {
    let rules = redaction("keep", &["form:pin=drop"]);
    for kind in [None, Some("text/plain"), Some("application/octet-stream")] {
        let headers: Headers = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        for (body, kept) in [
            ("pin=1234&a=b", "a=b"),
            ("a=b&%70in=1234", "a=b"),
            ("no form: pin=1234", "no form: pin=1234"),
            ("cGluPTEyMzQ=", "cGluPTEyMzQ="),
        ] {
            let (_, body) = recorded(&rules, None, None, &headers, Some(body.as_bytes()));
            assert_eq!(body.unwrap()[0], kept.as_bytes(), "{kind:?}");
        }
    }
}

#[test]
fn rules_are_named_by_what_they_say() {
    let one = redaction("seal", &["header:X-A=drop", "json:users[].t=hash"]);
    assert_eq!(one.text(), ["header:x-a=drop", "json:users.*.t=hash", "credentials=seal"]);
    let same = Redaction::from_text(one.text()).unwrap();
    assert_eq!((same.rule_set(), same.rule_set().len()), (one.rule_set(), 16));
    assert_ne!(one.rule_set(), redaction("drop", &[]).rule_set());
    assert!(
        one.does(Action::Seal)
            && one.does(Action::Hash)
            && !redaction("drop", &[]).does(Action::Hash)
    );
    let problems = Redaction::new(&Rules {
        credentials: Action::Seal,
        redact: vec!["tokens".into(), "x=drop".into(), "json:a=keep".into()],
    })
    .unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

proptest! {
    /// What was sealed comes back, whatever it was, and nothing of it was in the record.
    #[test]
    fn sealing_is_undone(
        value in "[a-z0-9]{8,20}",
        other in r#"[a-zA-Z0-9 ".,:{}\[\]]{0,20}"#,
        times in 1usize..4,
    ) {
        let rules = redaction("seal", &["tokens=seal", "json:list.*=seal"]);
        let (mut sealer, opener) = sealer();
        let secret = format!("s3cret-{value}");
        let list = vec![serde_json::json!({"x": secret}); times];
        let text = serde_json::json!({"o": other, "token": secret, "list": list}).to_string();
        let headers: Headers = vec![("content-type", "application/json")];
        let query = format!("token={secret}&x=1");
        let (mut request, mut body) =
            recorded(&rules, Some(&mut sealer), Some(&query), &headers, Some(text.as_bytes()));
        let kept = format!("{request:?} {body:?}");
        prop_assert!(!kept.contains(&secret));
        restore(&mut request, &mut body, Some(&opener), false).unwrap();
        prop_assert_eq!(&body.unwrap()[0], text.as_bytes());
        prop_assert_eq!(request.query.as_deref(), Some(query.as_bytes()));
    }
}
