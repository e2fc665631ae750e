use super::*;

const BODY: &str = "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nann\r\n--B\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; filename=\"a;b\"; name=pass\r\n\r\nsecret\r\nmore\r\n--B--\r\nend";

fn edited(body: &[u8], edit: &Edit) -> (String, bool) {
    let done = super::edit(body, b"B", |part, _| {
        Some(if part.name()? == b"pass" { edit.clone() } else { Edit::Keep })
    });
    (String::from_utf8(done.text).unwrap(), done.whole)
}

#[test]
fn fields_are_replaced() {
    assert_eq!(
        edited(BODY.as_bytes(), &Edit::Keep),
        (BODY["preamble\r\n".len()..].to_owned(), true)
    );
    let (text, whole) = edited(BODY.as_bytes(), &Edit::With(b"X".to_vec()));
    assert!(whole && text.contains("\r\n\r\nX\r\n--B--\r\nend") && text.contains("ann"));
    assert!(!text.contains("secret"));
    let (text, whole) = edited(BODY.as_bytes(), &Edit::Remove);
    assert!(whole && text.contains("ann") && !text.contains("secret") && !text.contains("pass"));
}

#[test]
fn a_cut_body_shows_nothing_by_half() {
    let cut = BODY.find("ret").unwrap();
    for edit in [Edit::Remove, Edit::With(b"X".to_vec())] {
        let (text, whole) = edited(&BODY.as_bytes()[..cut], &edit);
        assert!(!whole && text.contains("ann") && !text.contains("sec"), "{text}");
    }
    assert_eq!(edited(b"no parts", &Edit::Keep), (String::new(), false));
    assert!(!super::edit(BODY.as_bytes(), b"", |_, _| Some(Edit::Keep)).whole);
}

#[test]
fn boundaries_are_found() {
    assert_eq!(
        boundary(b"multipart/form-data; charset=x; Boundary=\"a b\\\"c\"").unwrap(),
        b"a b\"c"
    );
    assert_eq!(boundary(b"multipart/form-data;boundary=----x; y=z").unwrap(), b"----x");
    assert_eq!(boundary(b"multipart/form-data; boundary=\"open"), None);
    assert_eq!(boundary(b"multipart/form-data"), None);
}

#[test]
fn folded_heads_are_read_and_nameless_parts_are_cut() {
    let folded = "--B\r\nContent-Disposition: form-data;\r\n name=\"pass\"\r\n\r\nsecret\r\n--B--";
    let (text, whole) = edited(folded.as_bytes(), &Edit::With(b"X".to_vec()));
    assert!(whole && text.contains("X") && !text.contains("secret"));
    let nameless = "--B\r\nContent-Disposition: form-data; name*=UTF-8''p\r\n\r\nsecret\r\n--B--";
    assert_eq!(edited(nameless.as_bytes(), &Edit::Keep), (String::new(), false));
}

#[test]
fn what_readers_disagree_on_is_cut() {
    let field = "Content-Disposition: form-data; name=";
    let pass = format!("--B\r\n{field}pass\r\n\r\nsecret\r\n--B--");
    for first in [
        // A part of nothing, whose line end is the delimiter's.
        format!("--B\r\n{field}a\r\n\r\n"),
        // Line ends of which some readers take one for the end of the head.
        format!("--B\n{field}a\n\nvalue\n"),
        // A head without an end.
        format!("--B\r\n{field}a\r\n"),
    ] {
        let body = first + &pass;
        let (text, whole) = edited(body.as_bytes(), &Edit::With(b"X".to_vec()));
        assert!(!whole && !text.contains("secret"), "{body:?} became {text:?}");
    }
}
