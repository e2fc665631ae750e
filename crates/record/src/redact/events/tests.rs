use proptest::prelude::*;

use super::*;

/// The stream with each event's data as `edit` gives it.
fn with(stream: &str, edit: impl Fn(&str) -> Option<&'static str>) -> String {
    let edited = super::edit(stream.as_bytes(), |data| {
        let text = edit(std::str::from_utf8(data).unwrap())?.as_bytes().to_vec();
        Some(Edited { text, whole: true })
    });
    assert!(edited.whole);
    String::from_utf8(edited.text).unwrap()
}

#[test]
fn data_is_joined_and_stands_where_it_stood() {
    let only =
        |wanted: &'static str, new: &'static str| move |data: &str| (data == wanted).then_some(new);
    for (stream, wanted, new, expected) in [
        ("data: a\n\n", "a", "b", "data: b\n\n"),
        ("data:a\r\rdata:a", "a", "b", "data:b\r\rdata:b"),
        ("data:  a\r\n\r\n", " a", "b", "data: b\r\n\r\n"),
        ("data: a\nid: 1\ndata: b\n\n", "a\nb", "c", "data: c\nid: 1\ndata: \n\n"),
        ("data: a\nid: 1\ndata: b", "a\nb", "c\nd\ne", "data: c\nid: 1\ndata: d\ndata: e"),
        ("data: a\n", "a", "", "data: \n"),
        ("dat: a\ndatax: a\nDATA: a\n: a\n\n", "a", "b", "dat: a\ndatax: a\nDATA: a\n: a\n\n"),
    ] {
        assert_eq!(with(stream, only(wanted, new)), expected, "{stream:?}");
    }
}

#[test]
fn what_is_not_understood_ends_the_stream() {
    let edited = edit(b"data: a\n\nid: 1\ndata: bc\nretry: 1\n\ndata: a\n\n", |data| {
        (data == b"bc").then(|| Edited { text: b"b".to_vec(), whole: false })
    });
    assert!(!edited.whole);
    assert_eq!(edited.text, b"data: a\n\nid: 1\ndata: b");
}

proptest! {
    /// Bytes pass as they are unless their data is edited, and data that is goes whole.
    #[test]
    fn nothing_else_changes(
        stream in "(data: ?|id:|x|: |[a-c]{1,3}|\r\n|\r|\n|\u{feff}){0,40}",
        keep in any::<bool>(),
    ) {
        let edited = edit(stream.as_bytes(), |data| {
            (!keep).then(|| Edited { text: data.to_vec(), whole: true })
        });
        prop_assert_eq!(&edited.text, stream.as_bytes());
        let gone = edit(stream.as_bytes(), |_| Some(Edited { text: Vec::new(), whole: true }));
        prop_assert!(gone.whole);
        let again = edit(&gone.text, |data| {
            assert!(data.iter().all(|byte| *byte == b'\n'));
            None
        });
        prop_assert_eq!(again.text, gone.text);
    }
}
