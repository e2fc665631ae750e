//! Each format: what is equal, what differs and where, what is broken, what is hostile.

use proptest::{collection, prelude::*};
use prost_reflect::{
    prost::Message,
    prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MethodDescriptorProto, ServiceDescriptorProto,
        field_descriptor_proto::{Label, Type},
    },
};
use umbra_record::pb;

use crate::{Answer, Body, Rules, differences, explain};

fn header(name: &str, value: &str) -> pb::Header {
    pb::Header { name: name.to_owned().into(), value: value.to_owned().into() }
}

fn of(media: &str, body: impl Into<bytes::Bytes>) -> Answer {
    Answer {
        status: 200,
        headers: vec![header("Content-Type", media)],
        body: Body::whole(body),
        ..Answer::default()
    }
}

/// `field kind` of each difference.
fn list(one: &Answer, other: &Answer) -> Vec<String> {
    under(one, other, &Rules::default())
}

fn under(one: &Answer, other: &Answer, rules: &Rules) -> Vec<String> {
    let found = differences(one, other, rules);
    found.iter().map(|d| format!("{} {}", d.field, d.kind)).collect()
}

fn note(one: &Answer, other: &Answer) -> String {
    differences(one, other, &Rules::default())[0].note.clone()
}

#[test]
fn xml() {
    let xml = |text: &str| of("application/xml", text.to_owned());
    for (one, other, expected) in [
        ("<a x='1' y=\"2\"/>", "<?xml version='1.0'?>\n<a y='2' x='1'></a>", &[][..]),
        ("<a><b>1</b><c/></a>", "<a>\n  <b>1</b>\n  <!-- x -->\n  <c></c>\n</a>", &[]),
        ("<a>x &lt; &#x79;</a>", "<a><![CDATA[x < y]]></a>", &[]),
        ("<p:a xmlns:p='u'><p:b/></p:a>", "<q:a xmlns:q='u'><q:b/></q:a>", &[]),
        ("<a xmlns='u'/>", "<a xmlns='v'/>", &["body.a.@xmlns value"]),
        ("<a x='1'/>", "<a x='2'/>", &["body.a.@x value"]),
        ("<a x='1'/>", "<a/>", &["body.a.@x missing"]),
        ("<a><b>1</b></a>", "<a><b>2</b></a>", &["body.a.b value"]),
        ("<a><b>1</b></a>", "<a><b/></a>", &["body.a.b value", "body.a.b shape"]),
        ("<a><b>1</b></a>", "<a><c>1</c></a>", &["body.a.b missing", "body.a.c added"]),
        ("<a><b>1</b><b>2</b></a>", "<a><b>2</b><b>1</b></a>", &["body.a order"]),
        ("<a><b>1</b><b>2</b></a>", "<a><b>2</b></a>", &["body.a.b missing"]),
        ("<a/>", "<b/>", &["body.a missing", "body.b added"]),
        ("<a>x<b/>y</a>", "<a>x<b/>z</a>", &["body.a value"]),
        ("<a/>", "{}", &["body type"]),
        ("<a/>", "<a>", &["body type"]),
    ] {
        assert_eq!(list(&xml(one), &xml(other)), expected, "{one} {other}");
        assert_eq!(list(&xml(one), &xml(one)), [""; 0]);
    }
    let (one, other) = (xml("<a><i>1</i><i>2</i></a>"), xml("<a><i>1</i><i>3</i></a>"));
    assert_eq!(note(&one, &other), "body.a.i[1]: \"2\" \u{2192} \"3\"");
    // What cannot be read is text, and that is said.
    let (one, other) = (xml("<a>\n<b>"), xml("<a>\n<c>"));
    assert_eq!(note(&one, &other), "line 2 (not XML): \"<b>\" \u{2192} \"<c>\"");
}

#[test]
fn xml_expands_no_entities() {
    let mut text = "<!DOCTYPE x [<!ENTITY e0 'ha'>".to_owned();
    for at in 1..30 {
        text += &format!("<!ENTITY e{at} '&e{0};&e{0};'>", at - 1);
    }
    let with = |end: &str| of("text/xml", format!("{text}]><x a='&e29;'>&e29;{end}</x>"));
    assert_eq!(list(&with("1"), &with("2")), ["body.x value"]);
    let external = |end: &str| {
        let text = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;";
        of("text/xml", format!("{text}{end}</x>"))
    };
    assert_eq!(
        note(&external("1"), &external("2")),
        "body.x: \"&e;1\" \u{2192} \"&e;2\"".replace("body.x: ", "")
    );
}

#[test]
fn hostile_markup_ends_soon() {
    for (media, piece, close) in [
        ("text/xml", "<a>", "</a>"),
        ("text/html", "<div>", ""),
        ("text/html", "<b><p>", ""),
        ("text/html", "<table><tr><td>", ""),
        ("text/html", "<font size=1><i>", ""),
    ] {
        let body = |end: &str| piece.repeat(50_000) + end + &close.repeat(50_000);
        assert_eq!(list(&of(media, body("1")), &of(media, body("2"))), ["body value"], "{piece}");
    }
    let attributes = |end: &str| {
        let many: Vec<String> = (0..100_000).map(|at| format!("a{at}=1 ")).collect();
        format!("<a {}>{end}</a>", many.concat())
    };
    for media in ["text/xml", "text/html"] {
        let (one, other) = (of(media, attributes("1")), of(media, attributes("2")));
        assert_eq!(list(&one, &other), ["body value"], "{media}");
    }
}

#[test]
fn html() {
    let html = |text: &str| of("text/html", text.to_owned());
    let page = "<!DOCTYPE html><html><head><title>T</title></head><body>BODY</body></html>";
    let with = |body: &str| html(&page.replace("BODY", body));
    for (one, other, expected) in [
        ("<p>a<p>b", "<P>a</P>\n<p >b</p>", &[][..]),
        ("<p class=x id=y>a", "<p id='y' class=\"x\">a</p>", &[]),
        ("<p>a  b</p>", "<p> a\n b </p>", &[]),
        ("<pre>a  b</pre>", "<pre>a b</pre>", &["body.html.body.pre value"]),
        ("<p>&eacute;</p>", "<p>\u{e9}</p><!-- x -->", &[]),
        ("<ul><li>1<li>2</ul>", "<ul><li>1<li>3</ul>", &["body.html.body.ul.li value"]),
        ("<a href=/x>y</a>", "<a href=/z>y</a>", &["body.html.body.a.@href value"]),
        ("<a href=/x>y</a>", "<a>y</a>", &["body.html.body.a.@href missing"]),
        ("<i></i><b></b>", "<b></b><i></i>", &["body.html.body order"]),
        ("<table><tr><td>1</table>", "<table><tbody><tr><td>1</td></tr></tbody></table>", &[]),
        ("<p>a</p>", "<div>a</div>", &["body.html.body.p missing", "body.html.body.div added"]),
        ("<table><b>x</table>", "<b>x</b><table></table>", &[]),
        (
            "<template><i>1</i></template>",
            "<template><i>2</i></template>",
            &["body.html.body.template.i value"],
        ),
    ] {
        assert_eq!(list(&with(one), &with(other)), expected, "{one} {other}");
    }
    assert_eq!(
        list(&with(""), &html(&page[15..].replace("BODY", ""))),
        ["body.!doctype missing"].map(|_| "body[\"!doctype\"] missing")
    );
    // Any text is a page.
    assert_eq!(list(&html("x"), &html("<html><body>x")), [""; 0]);
}

#[test]
fn events() {
    let of = |body: &str| of("text/event-stream", body.to_owned());
    let one = of("id: 1\ndata: {\"a\":\ndata: 1}\n\n: ping\n\nevent: end\ndata: bye\n\n");
    let same = of("id: 1\r\ndata: {\"a\": 1}\r\n\r\nevent:end\r\ndata:bye");
    assert_eq!(list(&one, &same), [""; 0]);
    let other = of("id: 1\ndata: {\"a\":2}\n\nevent: end\ndata: bye\n\n");
    assert_eq!(list(&one, &other), ["body[].data.a value"]);
    let renamed = of("id: 1\ndata: {\"a\":1}\n\nevent: stop\ndata: bye\n\n");
    assert_eq!(list(&one, &renamed), ["body[].event value"]);
    assert_eq!(list(&one, &of("id: 1\ndata: {\"a\":1}\n\n")), ["body count"]);
    assert_eq!(super::events(b"data: 1\r\rdata: 2\r\r: x\r\r"), 2);
}

#[test]
fn parts() {
    let parts = |boundary: &str, file: &str, text: &str| {
        let body = format!(
            "preamble\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{text}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.json\"\r\n\
             Content-Type: application/json\r\n\r\n{file}\r\n--{boundary}--\r\nend"
        );
        of(&format!("multipart/form-data; boundary=\"{boundary}\""), body)
    };
    let one = parts("one", r#"{"k":[1,2]}"#, "t");
    assert_eq!(list(&one, &parts("another", r#"{"k": [1, 2]}"#, "t")), [""; 0]);
    assert_eq!(list(&one, &parts("x", r#"{"k":[1,3]}"#, "t")), ["body.f.content.k[] value"]);
    assert_eq!(list(&one, &parts("x", r#"{"k":[1,2]}"#, "u")), ["body.a.content value"]);
    let unnamed =
        |text: &str| of("multipart/mixed; boundary=b", format!("--b\n\n{text}\n--b\n\nz\n--b--"));
    assert_eq!(list(&unnamed("x"), &unnamed("y")), ["body[].content value"]);
    let broken = of("multipart/mixed; boundary=b", "--b\nX");
    assert_eq!(list(&unnamed("x"), &broken), ["body type"]);
    let nested = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(10_000);
    let of = |end| of("multipart/mixed; boundary=b", format!("{nested}{end}\r\n--b--"));
    assert!(!list(&of("x"), &of("y")).is_empty());
}

#[test]
fn the_same_text_in_another_charset_is_equal() {
    let plain =
        |charset: &str, body: &[u8]| of(&format!("text/plain; charset={charset}"), body.to_vec());
    let utf8 = plain("utf-8", "caf\u{e9} \u{20ac}".as_bytes());
    let header = ["header:content-type value"];
    assert_eq!(list(&utf8, &plain("windows-1252", b"caf\xe9 \x80")), header);
    assert_eq!(list(&utf8, &plain("utf-16le", b"c\0a\0f\0\xe9\0 \0\xac\x20")), header);
    let other = [header[0], "body value"];
    assert_eq!(list(&utf8, &plain("windows-1252", b"caff \x80")), other);
    let json = |charset: &str, body: &[u8]| {
        of(&format!("application/json;charset={charset}"), body.to_vec())
    };
    let one = json("utf-8", "{\"a\":\"\u{e9}\",\"b\":1}".as_bytes());
    assert_eq!(list(&one, &json("latin1", b"{\"b\":1,\"a\":\"\xe9\"}")), header);
    // As declared within.
    let xml = |text: &[u8]| of("text/xml", text.to_vec());
    let one = xml("<?xml version='1.0' encoding='UTF-8'?><a>\u{e9}</a>".as_bytes());
    assert_eq!(
        list(&one, &xml(b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>")),
        [""; 0]
    );
}

/// `package.Shop/Get` answers with `Item { name = 1, count = 2, items = 3 }`.
fn descriptors() -> Vec<u8> {
    let field =
        |name: &str, number, kind: Type, label: Label, of: Option<&str>| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            r#type: Some(kind.into()),
            label: Some(label.into()),
            type_name: of.map(str::to_owned),
            ..Default::default()
        };
    let item = DescriptorProto {
        name: Some("Item".to_owned()),
        field: vec![
            field("name", 1, Type::String, Label::Optional, None),
            field("count", 2, Type::Int64, Label::Optional, None),
            field("items", 3, Type::Message, Label::Repeated, Some(".package.Item")),
        ],
        ..Default::default()
    };
    let method = MethodDescriptorProto {
        name: Some("Get".to_owned()),
        input_type: Some(".package.Item".to_owned()),
        output_type: Some(".package.Item".to_owned()),
        ..Default::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Shop".to_owned()),
        method: vec![method],
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("shop.proto".to_owned()),
        package: Some("package".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![item],
        service: vec![service],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

/// A gRPC answer of these messages.
fn grpc(messages: &[&[u8]], status: &str) -> Answer {
    let frame =
        |message: &&[u8]| [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat();
    let body: Vec<u8> = messages.iter().flat_map(frame).collect();
    Answer { trailers: vec![header("grpc-status", status)], ..of("application/grpc", body) }
}

#[test]
fn grpc_without_types() {
    let one = grpc(&[b"\x0a\x01a", b"\x10\x05"], "0");
    assert_eq!(list(&one, &one), [""; 0]);
    let other = grpc(&[b"\x0a\x01b", b"\x10\x05"], "0");
    assert_eq!(list(&one, &other), ["body[] value"]);
    assert_eq!(note(&one, &other), "body[0]: from byte 2 on; 3 \u{2192} 3 bytes");
    assert_eq!(
        list(&one, &grpc(&[b"\x0a\x01a"], "13")),
        ["body count", "trailer:grpc-status value"]
            .map(|s| s.to_owned())
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    // Messages of an answer that broke off within a frame.
    let mut broken = one.clone();
    broken.body = Body::whole(one.body.bytes.slice(..9));
    assert_eq!(list(&one, &broken), ["body type"]);
}

#[test]
fn grpc_by_field() {
    let rules = Rules::default().with_descriptors(&descriptors()).unwrap();
    let rules = rules.for_request("POST", "/package.Shop/Get");
    let one = grpc(&[b"\x0a\x01a\x10\x05\x1a\x03\x0a\x01x"], "0");
    // The fields in another order.
    let same = grpc(&[b"\x1a\x03\x0a\x01x\x10\x05\x0a\x01a"], "0");
    assert_eq!(under(&one, &same, &rules), [""; 0]);
    let other = grpc(&[b"\x0a\x01b\x1a\x03\x0a\x01y\x28\x07"], "0");
    let expected = [
        "body[].name value",
        "body[].count missing",
        "body[].items[].name value",
        "body[][\"#5\"] added",
    ];
    let found: Vec<String> =
        under(&one, &other, &rules).into_iter().map(|f| f.replace(".#5", "[\"#5\"]")).collect();
    assert_eq!(found, expected);
    // What does not fit the type is bytes.
    assert_eq!(under(&one, &grpc(&[b"\xff"], "0"), &rules), ["body[] type"]);
    // Compressed, and said so in each frame.
    let zipped = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"\x0a\x01a\x10\x05\x1a\x03\x0a\x01x").unwrap();
        encoder.finish().unwrap()
    };
    let mut coded = grpc(&[&zipped], "0");
    let mut bytes = coded.body.bytes.to_vec();
    bytes[0] = 1;
    coded.body = Body::whole(bytes);
    coded.headers.push(header("grpc-encoding", "gzip"));
    assert_eq!(under(&one, &coded, &rules), ["header:grpc-encoding coding"]);
    let problem = Rules::default().with_descriptors(b"\x0a\x03abc").unwrap_err();
    assert!(problem.starts_with("not a descriptor set"), "{problem}");
}

#[test]
fn grpc_statuses_are_the_same_wherever_they_stand() {
    let trailers = grpc(&[], "5");
    let mut only = grpc(&[], "5");
    only.headers.append(&mut only.trailers);
    let mut web = of("application/grpc-web+proto", b"\x80\0\0\0\x10Grpc-Status: 5\r\n".to_vec());
    web.headers = trailers.headers.clone();
    assert_eq!(list(&trailers, &only), [""; 0]);
    assert_eq!(list(&only, &web), [""; 0]);
    assert_eq!(list(&only, &grpc(&[], "0")), ["trailer:grpc-status value"]);
}

#[test]
fn redacted_places_are_neither_compared_nor_shown() {
    let places = ["header:x-token", "cookie:sid", "json:**.password", "json:**.pin", "query:code"];
    let rules = Rules::default().redacted(&places).unwrap();
    let answer = |secret: &str, name: &str| Answer {
        status: 200,
        headers: vec![
            header("Content-Type", "application/json"),
            header("X-Token", secret),
            header("Location", &format!("/cb?code={secret}&s=1")),
            header("Set-Cookie", &format!("sid={secret}; Secure")),
        ],
        body: Body::whole(format!(
            r#"{{"user":{{"password":"{secret}","name":"{name}","list":[{{"pin":"{secret}"}}]}},"new":[]}}"#
        )),
        ..Answer::default()
    };
    assert_eq!(under(&answer("hush1", "a"), &answer("hush2", "a"), &rules), [""; 0]);
    assert_eq!(list(&answer("hush1", "a"), &answer("hush2", "a")).len(), 5);
    let mut lost = answer("hush2", "b");
    lost.headers.retain(|header| !matches!(&header.name[..], b"X-Token" | b"Set-Cookie"));
    lost.body = Body::whole(
        r#"{"user":{"name":"b","list":[]},"new":[{"user":{"password":"hush2"},"pin":"hush2"}]}"#,
    );
    let (found, passed) = explain(&answer("hush1", "a"), &lost, &rules);
    let shown = format!("{found:?} {passed:?}");
    assert!(!shown.contains("hush"), "{shown}");
    let fields: Vec<&str> = found.iter().map(|d| d.field.as_str()).collect();
    let expected =
        ["set-cookie:sid", "header:x-token", "body.user.name", "body.user.list", "body.new"];
    assert_eq!(fields, expected);
    // What has no structure any more is not shown at all.
    let broken = |secret: &str| of("application/json", format!("{{\"password\":\"{secret}"));
    let found = differences(&broken("hush1"), &broken("hush2"), &rules);
    assert_eq!(found.len(), 1);
    assert!(!format!("{found:?}").contains("hush"), "{found:?}");
}

#[test]
fn what_one_answer_says_is_redacted() {
    let mut one = of("application/json", r#"{"a":{},"b":1}"#);
    one.redacted = vec!["json:a.token".to_owned(), "header:authorization".to_owned()];
    let other = of("application/json", r#"{"a":{"token":"t"},"b":1}"#);
    assert_eq!(list(&one, &other), [""; 0]);
    assert_eq!(list(&other, &one), [""; 0]);
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        collection::vec(any::<u8>(), 0..80),
        "[<>a-c/=\"' !&;#x0-9\\[\\]-]{0,80}".prop_map(String::into_bytes),
        "(<[abp]>|</[abp]>|<table>|<td>|<select>|<option>|<svg>|<template>|x| ){0,30}"
            .prop_map(String::into_bytes),
        "(data|event|id|: ?|\\n|\\r|\\{\"a\":1\\}){0,20}".prop_map(String::into_bytes),
        "(--b|\\r\\n|--|Content-Type: text/html|x=1|:){0,20}".prop_map(String::into_bytes),
        collection::vec((0..4u8, collection::vec(any::<u8>(), 0..9)), 0..4).prop_map(|frames| {
            let frame = |(flags, message): (u8, Vec<u8>)| {
                let length = (message.len() as u32).to_be_bytes();
                [&[flags & 1 | (flags & 2) << 6][..], &length, &message].concat()
            };
            frames.into_iter().flat_map(frame).collect()
        }),
    ]
}

fn any_media() -> impl Strategy<Value = String> {
    let known = prop_oneof![
        Just("text/html"),
        Just("text/html; charset=utf-16"),
        Just("application/soap+xml"),
        Just("text/xml; charset=latin1"),
        Just("text/event-stream"),
        Just("multipart/form-data; boundary=b"),
        Just("application/grpc"),
        Just("application/grpc-web+json"),
        Just("application/protobuf"),
        Just("application/json"),
    ];
    prop_oneof![known.prop_map(str::to_owned), "[a-z/;= \"]{0,30}"]
}

proptest! {
    #[test]
    fn nothing_panics(
        (one, other) in (any_body(), any_body()),
        (media, other_media) in (any_media(), any_media()),
    ) {
        let rules = Rules::default().with_descriptors(&descriptors()).unwrap();
        let rules = rules.redacted(&["json:**.a", "form:x", "header:set-cookie"]).unwrap();
        let rules = rules.for_request("POST", "/package.Shop/Get");
        let (one, other) = (of(&media, one), of(&other_media, other));
        prop_assert_eq!(under(&one, &one, &rules), [""; 0]);
        let differ = |one: &Answer, other: &Answer| {
            differences(one, other, &rules).iter().any(|d| !d.kind.is_note())
        };
        prop_assert_eq!(differ(&one, &other), differ(&other, &one));
    }
}
