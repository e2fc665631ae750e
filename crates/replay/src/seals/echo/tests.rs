use std::{io::Write as _, sync::Arc, time::Duration};

use umbra_record::{
    pb,
    seal::{DataKey, Opener, Sealer},
};

use super::*;

/// What is taken out if these were sent.
fn echo(values: &[(&str, &str)]) -> Echo {
    let mut sealer = Sealer::new(Arc::new(DataKey::generate("k".to_owned()).unwrap())).unwrap();
    let mut opener = Opener::default();
    opener.add(sealer.key());
    let seal = |(place, value): &(&str, &str)| {
        sealer.seal(&[7; 16], (*place).to_owned(), 0, value.as_bytes())
    };
    let sealed = values.iter().map(seal).collect();
    let request = pb::Request { id: vec![7; 16].into(), sealed, ..pb::Request::default() };
    Echo::of(&request, &opener)
}

fn field(name: &str, value: &str) -> pb::Header {
    pb::Header { name: name.to_owned().into(), value: value.to_owned().into() }
}

fn answer(headers: Vec<pb::Header>, body: Vec<u8>) -> Answer {
    Answer {
        status: 200,
        reason: Bytes::new(),
        version: pb::Version::Http11,
        headers,
        body_length: body.len() as u64,
        body_hash: Some(hash::of(&body)),
        body: Some(body.into()),
        trailers: Vec::new(),
        complete: true,
        head_after: Duration::ZERO,
        first_byte_after: None,
        end_after: Duration::ZERO,
    }
}

fn left(echo: &Echo, body: &str) -> String {
    let mut answer = answer(Vec::new(), body.as_bytes().to_vec());
    echo.remove_from(&mut answer);
    let body = answer.body.expect("it had one");
    assert_eq!(answer.body_length, body.len() as u64);
    assert_eq!(answer.body_hash, Some(hash::of(&body)));
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn what_a_shadow_quotes_is_taken_out_again() {
    let echo = echo(&[
        ("header:authorization", "Bearer abcdefgh"),
        ("header:cookie", "sid=12345678; theme=dark"),
        ("query:pin", "1234"),
    ]);
    let body = r#"{"auth":"Bearer abcdefgh","token":"abcdefgh","sid":"12345678","pin":1234}"#;
    let headers = vec![field("x", "abcdefgh abcdefgh"), field("x", "dark")];
    let mut answer = answer(headers, body.into());
    answer.trailers = vec![field("x", "12345678")];
    answer.reason = "no abcdefgh".into();
    echo.remove_from(&mut answer);
    let values = |fields: &[pb::Header]| fields.iter().map(|f| f.value.clone()).collect::<Vec<_>>();
    assert_eq!(values(&answer.headers), ["umbra-sealed umbra-sealed", "dark"]);
    assert_eq!(values(&answer.trailers), ["umbra-sealed"]);
    assert_eq!(answer.reason, "no umbra-sealed");
    let sealed = r#""umbra-sealed""#;
    let without = format!(r#"{{"auth":{sealed},"token":{sealed},"sid":{sealed},"pin":{sealed}}}"#);
    assert_eq!(answer.body.as_deref(), Some(without.as_bytes()));
}

#[test]
fn values_of_json_are_found_without_their_quotes_and_short_ones_by_their_names() {
    let echo = echo(&[
        ("json:/token", r#""s3cret/to\"ken""#),
        ("json:/card/pin", "4711"),
        ("json:/admin", "true"),
        ("json:/codes/0", "12"),
        ("json:/user", r#"{"mail":"a.user@example.org","age":[41,7]}"#),
        ("form:q", "a+long%40value"),
    ]);
    for (body, without) in [
        (r#"no s3cret/to"ken here"#, "no umbra-sealed here"),
        (r#"{"x":"s3cret\/to\"ken"}"#, r#"{"x":"umbra-sealed"}"#),
        (
            r#"{"json":{"Pin": 4711,"pin2":4711}}"#,
            r#"{"json":{"Pin": "umbra-sealed","pin2":4711}}"#,
        ),
        (
            r#"{"pin":["1","4711",4711,47110]}"#,
            r#"{"pin":["1","umbra-sealed","umbra-sealed",47110]}"#,
        ),
        (r#"{"data":"{\"pin\":4711}"}"#, r#"{"data":"{\"pin\":\"umbra-sealed\"}"}"#),
        (r#"{"data":"{\"pin\": \"4711\"}"}"#, r#"{"data":"{\"pin\": \"umbra-sealed\"}"}"#),
        (
            r#"{"admin":true,"b":true,"pin":4711.5}"#,
            r#"{"admin":"umbra-sealed","b":true,"pin":4711.5}"#,
        ),
        (r#"{"codes":[12,13]}"#, r#"{"codes":["umbra-sealed",13]}"#),
        ("dear a.user@example.org,", "dear umbra-sealed,"),
        (r#"{"age":41}"#, r#"{"age":"umbra-sealed"}"#),
        (r#"{"args":{"q":"a long@value"}}"#, r#"{"args":{"q":"umbra-sealed"}}"#),
        ("pin: 4711, 12, true", "pin: 4711, 12, true"),
        (r#"{"pin":"#, r#"{"pin":"#),
    ] {
        assert_eq!(left(&echo, body), without);
    }
}

fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        "gzip" => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), level);
            to.write_all(body).unwrap();
            to.finish().unwrap()
        }
        "deflate" => {
            let mut to = flate2::write::ZlibEncoder::new(Vec::new(), level);
            to.write_all(body).unwrap();
            to.finish().unwrap()
        }
        _ => zstd::encode_all(body, 1).unwrap(),
    }
}

#[test]
fn compressed_answers_are_looked_into() {
    let echo = echo(&[("header:authorization", "Bearer abcdefgh"), ("json:/pin", "4711")]);
    let body = br#"{"you":"sent abcdefgh","pin":4711}"#;
    for coding in ["gzip", "deflate", "zstd"] {
        let headers = vec![field("Content-Encoding", coding), field("x", "y")];
        let mut one = answer(headers.clone(), coded(coding, body));
        assert!(echo.is_work(&one));
        echo.remove_from(&mut one);
        let left = br#"{"you":"sent umbra-sealed","pin":"umbra-sealed"}"#;
        assert_eq!(one.body.as_deref(), Some(&left[..]), "{coding}");
        assert_eq!((one.body_length, one.body_hash), (left.len() as u64, Some(hash::of(left))));
        assert_eq!(one.headers, [field("x", "y")]);

        // Without anything of it, an answer stays as it came.
        let mut other = answer(headers, coded(coding, br#"{"pin":4712}"#));
        let before = other.clone();
        echo.remove_from(&mut other);
        assert_eq!(other, before);
    }
    // What nobody can look into is not kept, and neither is what is too large.
    let mut unknown = answer(vec![field("content-encoding", "rot13")], b"nopqrstu".to_vec());
    echo.remove_from(&mut unknown);
    assert_eq!((unknown.body.as_deref(), unknown.body_hash), (Some(&b""[..]), None));
    let large = [vec![b'.'; MAX_CONTENT + 10], b"abcdefgh".to_vec()].concat();
    let mut bomb = answer(vec![field("content-encoding", "gzip")], coded("gzip", &large));
    echo.remove_from(&mut bomb);
    assert_eq!(bomb.body.as_ref().map(Bytes::len), Some(MAX_ANSWER_BODY));
    assert!(bomb.body_length > MAX_ANSWER_BODY as u64 && bomb.body_hash.is_none());
    // One that only says so.
    let mut lie = answer(vec![field("content-encoding", "gzip")], b"an abcdefgh".to_vec());
    echo.remove_from(&mut lie);
    assert_eq!(lie.body.as_deref(), Some(&b"an umbra-sealed"[..]));
}

#[test]
fn a_value_that_a_cut_goes_through_goes_too() {
    let echo = echo(&[("header:x-api-key", "abcdefghij"), ("json:/pin", "471147")]);
    for (body, left) in [
        ("...abcdefghi", "..."),
        ("...abcd", "..."),
        ("...abc", "...abc"),
        ("abcdefghij abcdefg", "umbra-sealed "),
        (r#"{"pin":4711"#, r#"{"pin":"umbra-sealed""#),
        (r#"{"pin":"47"#, r#"{"pin":"umbra-sealed"#),
        (r#"{"pin":"48"#, r#"{"pin":"48"#),
    ] {
        let mut cut = answer(Vec::new(), body.as_bytes().to_vec());
        cut.body_length += 1000;
        let before = cut.clone();
        echo.remove_from(&mut cut);
        assert_eq!(cut.body.as_deref(), Some(left.as_bytes()), "{body}");
        if body == left {
            assert_eq!(cut, before);
        } else {
            assert_eq!((cut.body_length, cut.body_hash), (body.len() as u64 + 1000, None));
        }
        // Broken off.
        let mut broken = answer(Vec::new(), body.as_bytes().to_vec());
        broken.complete = false;
        echo.remove_from(&mut broken);
        assert_eq!(broken.body.as_deref(), Some(left.as_bytes()), "{body}");
    }
    let mut coded = answer(vec![field("content-encoding", "gzip")], {
        let mut body = coded("gzip", b"...abcdefghi and what follows it");
        body.truncate(body.len() - 10);
        body
    });
    coded.body_length += 10;
    echo.remove_from(&mut coded);
    let body = coded.body.expect("it had one");
    assert!(memchr::memmem::find(&body, b"abcdefghi").is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 300,
        rng_seed: proptest::test_runner::RngSeed::Fixed(11),
        ..Default::default()
    })]
    #[test]
    fn whatever_stands_around_them_values_are_gone(
        before in r#"[a-z:,"\\\[\]{} 0-9]{0,40}"#,
        after in r#"[a-z:,"\\\[\]{} 0-9]{0,40}"#,
        kept in 0..120_usize,
    ) {
        const SECRET: &str = "s3cret-9876543210";
        let quoted = format!("\"{SECRET}\"");
        let echo = echo(&[("json:/a", quoted.as_str()), ("query:b", "1"), ("form:n", "")]);
        let mut text = format!("{before}{SECRET}{after}{SECRET}");
        let whole = text.len();
        text.truncate(kept);
        let mut one = answer(Vec::new(), text.into_bytes());
        one.body_length = whole as u64;
        echo.remove_from(&mut one);
        let body = one.body.expect("it had one");
        proptest::prop_assert!(memchr::memmem::find(&body, &SECRET.as_bytes()[..BEGINNING]).is_none());
    }
}
